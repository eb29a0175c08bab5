"""Training file and contamination in records: limits, older records, and what another run has to have equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benchmark.records.compare import compare
from benchmark.records.contamination import Contamination
from benchmark.records.record import Record, parse, read, write
from benchmark.records.training_file import TrainingFile
from benchmark.records.verification import DIFFERENT
from tests.helpers.board_records import make_record, make_task

COUNTS: dict[str, Any] = {
    "method": "equal_text_v1",
    "examples": 100,
    "same_example": 3,
    "any_text": 10,
    "long_sentence": 90,
    "in_pretraining": 20,
}
PART = TrainingFile(name="glue/QQP/train.part.tsv", sha256="0" * 64, examples=9_999, official_examples=363_849)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"same_example": 11}, "same_example = 11 is more than any_text = 10"),
        ({"any_text": 101}, "any_text = 101 is more than examples = 100"),
        ({"in_pretraining": 91}, "in_pretraining = 91 is more than long_sentence = 90"),
        ({"long_sentence": 101}, "long_sentence = 101 is more than examples = 100"),
        ({"in_pretraining": -1}, "greater than or equal to 0"),
        ({"examples": 0}, "greater than or equal to 1"),
    ],
)
def test_counts_are_parts_of_each_other(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Contamination(**COUNTS | changes)


def test_what_is_not_known_is_null() -> None:
    nothing = Contamination(**COUNTS | dict.fromkeys(("same_example", "any_text", "in_pretraining")))
    assert nothing.same_example is None


def record(**changes: Any) -> Record:
    return make_record("a", make_task(70.0, "glue_qqp_v1", **changes))


def test_both_survive_writing_and_older_records_read(tmp_path: Path) -> None:
    whole = record(training_file=PART, contamination=Contamination(**COUNTS))
    write(tmp_path / "a.json", whole)
    assert read(tmp_path / "a.json") == whole
    values = json.loads((tmp_path / "a.json").read_text())
    del values["tasks"][0]["training_file"], values["tasks"][0]["contamination"]
    older = parse(json.dumps(values))
    assert (older.tasks[0].training_file, older.tasks[0].contamination) == (None, None)


def test_another_run_has_to_have_the_same() -> None:
    recorded = record(training_file=PART, contamination=Contamination(**COUNTS))

    def different(found: Record, given: Record = recorded) -> set[str]:
        return {row.field for row in compare(given, found) if row.outcome == DIFFERENT}

    assert different(recorded) == set()
    place = "tasks.glue_qqp_v1"
    other = record(training_file=PART, contamination=Contamination(**COUNTS | {"in_pretraining": 21}))
    assert different(other) == {f"{place}.contamination.in_pretraining"}
    assert f"{place}.training_file.sha256" in different(record(contamination=Contamination(**COUNTS)))
    # Older records lack both, and are compared by the rest.
    assert different(recorded, given=record()) == set()
