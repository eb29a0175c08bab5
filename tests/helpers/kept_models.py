"""A run as far as an export reads it: settings, vocabulary, fine-tuned parameters, and a record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmark.config import EncoderConfig, to_dict
from benchmark.records.record import write
from benchmark.records.task_score import Unscored
from benchmark.training import checkpoints, finetune
from benchmark.training.initial import init_tree
from tasks.catalogue import get_task
from tasks.encoding import vocabulary
from tests.helpers.board_records import make_record, make_task
from tests.helpers.encoders import trained_like


def write_record(workdir: Path, encoder: EncoderConfig, *tasks: str, unscored: str = "") -> Path:
    """Writes the other files of a run: settings, vocabulary, and the record of its system `toy`."""
    words = workdir / "data" / "vocabulary-1.txt"
    words.parent.mkdir(parents=True, exist_ok=True)
    tokens = [*vocabulary.SPECIAL_TOKENS, *(f"word{n}" for n in range(40 - len(vocabulary.SPECIAL_TOKENS)))]
    vocabulary.write(tokens, words)
    digest = vocabulary.load(words).digest
    index = words.with_name("data.json")
    values = json.loads(index.read_text()) if index.exists() else {"vocabulary": {}}
    values["vocabulary"] |= {"path": words.name, "digest": digest, "pad_id": 0}
    index.write_text(json.dumps(values))
    (workdir / "config.json").write_text(json.dumps({"fingerprint": "f"}))
    record = make_record("toy", *(make_task(50.0, task) for task in tasks))
    assert record.provenance
    provenance = record.provenance.model_copy(update={"vocabulary_digest": digest, "config_fingerprint": "f"})
    system = record.system.model_copy(update={"encoder": to_dict(encoder)})
    others = [Unscored(task=unscored, split="test", num_examples=1, seeds=[0], predictions=[])] if unscored else []
    path = workdir / "results" / "toy.json"
    write(path, record.model_copy(update={"provenance": provenance, "system": system, "unscored": others}))
    return path


def keep(workdir: Path, encoder: EncoderConfig, task: str) -> tuple[Path, Any]:
    """A record with random parameters fine-tuned on one task, and these parameters."""
    info = get_task(task)
    model = finetune.task_model(encoder, finetune.task_head(info))
    params = trained_like(init_tree(model, encoder, 3, num_inputs=3))
    folder = workdir / "evaluation" / "toy" / task
    checkpoints.save(folder / "parameters", finetune.without_unused_outputs(params, info))
    marker = {"fingerprint": "t", "result": {"seed": 4}}
    for name in ("parameters.json", "seed4.json"):
        (folder / name).write_text(json.dumps(marker))
    return write_record(workdir, encoder, task), params
