"""What a run knows of its data, and the estimates in its records."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from benchmark.cli.gin_loader import load_run_config
from benchmark.pipeline.record import estimated_blocks
from benchmark.pipeline.run_context import Run, SystemPlan
from tasks.encoding import vocabulary
from tests.helpers.mnli_run import TINY


def test_special_tokens_are_those_of_the_vocabulary_wherever_they_stand(tmp_path: Path) -> None:
    names = ["[PAD]", "[unused0]", "the", "a", "[CLS]", "cat", "[SEP]", "dog", "[UNK]", "[MASK]"]
    (tmp_path / "vocab.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    found = vocabulary.load(tmp_path / "vocab.txt")
    (tmp_path / "data").mkdir()
    entry = {"vocabulary": dataclasses.asdict(found) | {"path": found.path.name}}
    (tmp_path / "data" / "data.json").write_text(json.dumps(entry), encoding="utf-8")
    special = Run(load_run_config([str(TINY)]), tmp_path, lambda line: None).special
    assert (special.pad_id, special.cls_id, special.sep_id, special.mask_id, special.unk_id) == (0, 4, 6, 9, 8)
    # What may stand for a masked token: words alone.
    ids = [number for start, end in special.text_ranges for number in range(start, end)]
    assert [names[number] for number in ids] == ["the", "a", "cat", "dog"]


def test_a_record_says_that_a_roofline_is_only_a_rank(tmp_path: Path) -> None:
    config = load_run_config([str(TINY)])
    system = SystemPlan("plain", "Plain", "baseline", config.baselines[0].architecture, tmp_path)
    search = config.required_search()
    for overhead, only_a_rank in ((search.chip.op_overhead_s, None), (0.0, True)):
        chip = dataclasses.replace(search.chip, op_overhead_s=overhead)
        changed = dataclasses.replace(config, search=dataclasses.replace(search, chip=chip))
        (block,) = estimated_blocks(Run(changed, tmp_path, lambda line: None), system)
        assert block.method == "roofline" and block.details.get("only_a_rank") == only_a_rank
