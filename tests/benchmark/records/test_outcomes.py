"""Files of outcomes: what is written is read, and what does not belong to the record is refused in one line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.records.outcomes import Outcomes, TaskOutcomes, of_record, outcomes_path, read, write
from benchmark.records.record import Record, RecordError
from benchmark.records.task_score import MetricScore
from tests.helpers.board_records import make_record, make_task

LABELS = TaskOutcomes(
    task="glue_sst2_v1", split="validation", references=[1, 0, 1, 1], runs={"predictions": [[1, 0, 1, 0], [1, 1, 1, 1]]}
)


def zipped(content: bytes) -> bytes:
    """Without the time, so that all processes that collect these tests have the same ones."""
    return gzip.compress(content, mtime=0)


def record(found: TaskOutcomes = LABELS) -> Record:
    metric = MetricScore(value=75.0, per_seed=[75.0, 75.0])
    task = make_task(75.0, found.task, metrics={"accuracy": metric}, seeds=[0, 1], num_examples=4)
    return make_record("a", task.model_copy(update={"outcomes_sha256": found.digest}))


def beside(folder: Path, value: Any) -> Path:
    path = folder / "a.json"
    outcomes_path(path).parent.mkdir(exist_ok=True)
    content = value if isinstance(value, bytes) else zipped(json.dumps(value).encode())
    outcomes_path(path).write_bytes(content)
    return path


NUMBERS = st.integers(-(2**31), 2**31 - 1) | st.floats(-1e9, 1e9)


@given(st.lists(NUMBERS, min_size=1, max_size=5), st.integers(1, 3), st.data())
def test_what_is_written_is_read(references: list[float], runs: int, data: st.DataObject) -> None:
    lists = st.lists(NUMBERS, min_size=len(references), max_size=len(references))
    predictions = [data.draw(lists) for _ in range(runs)]
    one = TaskOutcomes(task="t", split="validation", references=references, runs={"predictions": predictions})
    again = TaskOutcomes.model_validate(json.loads(json.dumps(one.model_dump(mode="json"))))
    assert again == one and again.digest == one.digest


def test_outcomes_lie_beside_their_record(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert of_record(record(), path) == {}
    write(outcomes_path(path), Outcomes(record_id="a", tasks=[LABELS]))
    first = outcomes_path(path).read_bytes()
    write(outcomes_path(path), Outcomes(record_id="a", tasks=[LABELS]))
    assert outcomes_path(path).read_bytes() == first and read(outcomes_path(path)).tasks == [LABELS]
    assert of_record(record(), path) == {"glue_sst2_v1": LABELS}


def changed(**changes: Any) -> dict[str, Any]:
    return {"record_id": "a", "tasks": [LABELS.model_dump(mode="json") | changes]}


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (b"no gzip", "cannot be read"),
        (zipped(b'{"record_id": "a"')[:-9], "cannot be read"),
        (zipped(b"\xff"), "cannot be read"),
        ({"record_id": "a"}, "tasks is missing"),
        ({"record_id": "b", "tasks": []}, "record_id = 'b': expected 'a'"),
        (changed(split="test"), "tasks.glue_sst2_v1: the record has no score of it on split 'test'"),
        (changed(task="other"), "tasks.other: the record has no score of it"),
        (changed(references=[1, 0, 0, 1]), "the record has"),
        (changed(references=[1, 0, 0]), "runs.predictions must have 3 values each"),
        (changed(references=[]), "references"),
        (changed(runs={"f1": [[1, 0, 1, 1]]}), "runs must have predictions alone"),
        (changed(runs={"exact_match": [[0, 0, 0, 9]], "f1": [[0, 0, 0, 0]]}), "values from 0 to 1"),
        (changed(references=[0, 0, 0, 2**40]), "references.3"),
        (changed(references=[0, 0, 0, 7], runs={n: [[0, 0, 0, 0]] for n in ("f1", "exact_match")}), "from 0"),
        (changed() | {"tasks": changed()["tasks"] * 2}, "tasks: one is given twice"),
    ],
)
def test_what_does_not_belong_to_the_record_is_refused(tmp_path: Path, value: Any, named: str) -> None:
    path = beside(tmp_path, value)
    with pytest.raises(RecordError) as caught:
        of_record(record(), path)
    assert named in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_as_many_runs_as_the_record_has(tmp_path: Path) -> None:
    one_run = LABELS.model_copy(update={"runs": {"predictions": [[1, 0, 1, 0]]}})
    path = beside(tmp_path, {"record_id": "a", "tasks": [one_run.model_dump(mode="json")]})
    with pytest.raises(RecordError, match="expected 2 runs of 4 examples"):
        of_record(record(one_run), path)


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.records.outcomes._LIMIT", 1000)
    path = beside(tmp_path, zipped(b" " * 10**6))
    with pytest.raises(RecordError, match="more than 1000 bytes when decompressed"):
        of_record(record(), path)
