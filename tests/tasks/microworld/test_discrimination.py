"""The micro tasks tell systems apart: teacher > trained student > untrained student > chance, outside their intervals.

The records under `tests/data/quickstart` are those of one `make quickstart`; where this checkout holds a finished
quickstart of its own, its records must show the same.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.cli.gin_loader import load_run_config
from benchmark.config import fingerprint
from benchmark.records.record import Record, read
from benchmark.records.task_score import TaskScore
from tasks.system.repository import REPOSITORY

RECORDED = REPOSITORY / "tests" / "data" / "quickstart"
OWN = REPOSITORY / "runs" / "quickstart" / "results"

# The score of an answer that ignores the input, in percent: the majority label of the development set (for Matthews
# correlation 0 by definition), and for SQuAD the F1 of a random word of the paragraph (6.8, rounded up).
CHANCE = {"glue_sst2_v1": 52.0, "glue_cola_v1": 0.0, "glue_rte_v1": 50.0, "squad_v1_1_v1": 10.0}


def primary(record: Record, task: str) -> tuple[float, float, float]:
    """Value, lower and upper end of a task's primary metric."""
    score: TaskScore = next(t for t in record.tasks if t.task == task)
    metric = score.metrics[score.primary_metric]
    assert metric.interval is not None
    return metric.value, *metric.interval


def own_quickstart() -> bool:
    """Whether this checkout holds a finished quickstart with the settings of today."""
    found = [read(path) for path in OWN.glob("*.json")]
    return len(found) >= 5 and {r.provenance.config_fingerprint for r in found if r.provenance} == {todays_settings()}


def todays_settings() -> str:
    """Fingerprint of the quickstart's settings in this checkout."""
    return fingerprint(load_run_config([str(REPOSITORY / "gin" / "quickstart.gin")], []))


@pytest.mark.parametrize("directory", [RECORDED, OWN], ids=["recorded", "own"])
def test_systems_are_told_apart_on_four_tasks(directory: Path) -> None:
    if directory == OWN and not own_quickstart():
        pytest.skip("no finished runs/quickstart in this checkout; `make quickstart` makes one")
    records = [read(path) for path in sorted(directory.glob("*.json"))]
    (teacher,), (untrained,) = ([r for r in records if r.system.kind == kind] for kind in ("teacher", "control"))
    twins = [r for r in records if r.system.encoder == untrained.system.encoder and r != untrained]
    (student,) = (r for r in twins if r.training and r.training.recipe == "mobilebert")
    apart = []
    for task, chance in CHANCE.items():
        ladder = [primary(record, task) for record in (teacher, student, untrained)]
        outside = all(upper[1] > lower[2] for upper, lower in zip(ladder, ladder[1:], strict=False))
        if outside and ladder[-1][1] > chance:
            apart.append(task)
    assert len(apart) >= 4, f"told apart only on {apart}"


def test_recorded_quickstart_is_one_run_of_the_settings_of_today() -> None:
    records = [read(path) for path in sorted(RECORDED.glob("*.json"))]
    assert {r.system.kind for r in records} == {"teacher", "found", "baseline", "control"}
    assert {"mobilebert", "tinybert", "teacher"} <= {r.system.name for r in records}
    # Where this fails, `make quickstart` gives the records that belong here.
    assert {r.provenance.config_fingerprint for r in records if r.provenance} == {todays_settings()}
