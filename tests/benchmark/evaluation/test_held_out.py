"""The part of a training split on which settings are compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmark.evaluation.held_out import divide
from tasks.arrays.token_arrays import EXAMPLES_FILE, TokenArrays
from tasks.catalogue import get_task
from tasks.system.errors import StageError

SST2, STSB, SQUAD = (get_task(name) for name in ("glue_sst2_v1", "glue_stsb_v1", "squad_v1_1_v1"))


def labelled(labels: np.ndarray) -> TokenArrays:
    ids = np.arange(2 * len(labels)).reshape(-1, 2)
    return TokenArrays(Path(), {"input_ids": ids, "label": labels}, {"rows": len(labels)})


def test_each_label_gives_its_share_and_every_row_is_in_one_part() -> None:
    labels = np.array([0] * 200 + [1] * 100)
    parts = divide(SST2, labelled(labels), 0.1)
    assert np.bincount(parts.held_out.features["label"]).tolist() == [20, 10]
    assert (parts.references == parts.held_out.features["label"]).all()
    assert (parts.train.num_rows, parts.held_out.num_rows) == (270, 30)
    places = np.concatenate([part.features["input_ids"][:, 0] // 2 for part in parts[:2]])
    assert sorted(places) == list(range(300))
    # Scattered over the split, and the same every time.
    held = parts.held_out.features["input_ids"][:, 0] // 2
    assert held[:4].tolist() == [29, 33, 49, 51]
    assert (np.diff(parts.train.features["input_ids"][:, 0]) > 0).all()


def test_numbers_have_no_strata_and_few_rows_still_give_one() -> None:
    assert divide(STSB, labelled(np.linspace(0.0, 5.0, 40)), 0.25).held_out.num_rows == 10
    assert divide(SST2, labelled(np.array([0, 1, 1])), 0.1).held_out.num_rows == 1
    for labels in ([1], [0, 1]):
        with pytest.raises(StageError, match=r"glue_sst2_v1: \d training examples are too few to hold some out"):
            divide(SST2, labelled(np.array(labels)), 0.9)


def test_questions_of_a_context_stay_together_with_all_windows(tmp_path: Path) -> None:
    # Ten contexts with three questions each; the second question of each has two windows.
    examples = [{"id": f"q{n}", "context": f"c{n // 3}"} for n in range(30)]
    (tmp_path / EXAMPLES_FILE).write_text("".join(json.dumps(example) + "\n" for example in examples))
    index = np.array([n for n in range(30) for _ in range(2 if n % 3 == 1 else 1)], np.int32)
    names = ("input_ids", "offsets", "is_max_context")
    features = {name: np.arange(len(index)) for name in names} | {"example_index": index}
    parts = divide(SQUAD, TokenArrays(tmp_path, features, {"rows": len(index)}), 0.2)
    contexts = {example["context"] for example in parts.references}
    assert len(parts.references) == 6 and len(contexts) == 2 and parts.held_out.num_rows == 8
    # Windows name their example among the references.
    found = [parts.references[n]["id"] for n in parts.held_out.features["example_index"]]
    assert found == [f"q{index[row]}" for row in parts.held_out.features["input_ids"]]
    assert {f"c{index[row] // 3}" for row in parts.train.features["input_ids"]} == {
        f"c{n}" for n in range(10)
    } - contexts
    assert set(parts.train.features) == {"input_ids", "example_index"}
