"""The objective of a search: either score leads it in the same way, and its history names the one that did."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from benchmark.config import SearchConfig, encoder_from_dict
from benchmark.records.history import parse_history
from benchmark.records.history_tables import tables
from benchmark.records.record import RecordError
from benchmark.search.executors import LocalExecutor
from benchmark.search.journal import Journal, Trial
from benchmark.search.loop import run_search
from benchmark.search.results import found_systems, history
from tests.helpers.searches import CONFIG, accuracy, points_of

BY_AGREEMENT = dataclasses.replace(CONFIG, objective="teacher_agreement")


def trial(job: dict[str, Any]) -> dict[str, float]:
    """Scores of a fake trial; the smaller a student, the better it agrees."""
    scores = accuracy(encoder_from_dict(job["encoder"]))
    agreement = {"teacher_agreement": 80.0 - scores["accuracy"], "teacher_agreement_stderr": 0.25}
    return scores | agreement | {"teacher_kl": 0.8, "teacher_kl_stderr": 0.1}


def exchanged(job: dict[str, Any]) -> dict[str, float]:
    """The trial with the one score in place of the other."""
    scores = trial(job)
    for end in ("", "_stderr"):
        names = f"accuracy{end}", f"teacher_agreement{end}"
        scores |= {names[0]: scores[names[1]], names[1]: scores[names[0]]}
    return scores


def search(config: SearchConfig, path: Path, work: Any, lines: list[str] | None = None) -> list[Trial]:
    with Journal(path) as journal:
        progress = (lines if lines is not None else []).append
        return run_search(config, journal, LocalExecutor(work, config.parallel_trials), 3, progress)


@pytest.mark.parametrize("changes", [{"algorithm": "ax"}, {"algorithm": "random", "rungs": (0.5,)}])
def test_either_score_leads_a_search_in_the_same_way(tmp_path: Path, changes: dict[str, Any]) -> None:
    by_accuracy, by_agreement = (
        dataclasses.replace(config, num_trials=7, **changes) for config in (CONFIG, BY_AGREEMENT)
    )
    one = search(by_accuracy, tmp_path / "accuracy", exchanged)
    other = search(by_agreement, tmp_path / "agreement", trial)
    assert points_of(one) == points_of(other)
    assert [t.status for t in one] == [t.status for t in other]
    assert found_systems(by_accuracy, one) == found_systems(by_agreement, other)


def test_the_history_names_the_score(tmp_path: Path) -> None:
    lines: list[str] = []
    config = dataclasses.replace(BY_AGREEMENT, num_found=9)
    trials = search(config, tmp_path / "journal", trial, lines)
    assert "teacher agreement" in lines[-1] and "accuracy" not in lines[-1]
    found = history(config, trials, "micro")
    checked = parse_history(found).model_dump(mode="json")
    assert list(checked["objectives"]) == ["teacher_agreement", "latency"]
    assert checked["objectives"]["teacher_agreement"]["threshold"] == config.accuracy_threshold
    # The smallest student is best in both objectives, so that it is the whole front.
    (best,) = (row for row in checked["trials"] if row["on_front"])
    assert best["teacher_agreement"] == max(row["teacher_agreement"] for row in checked["trials"])
    assert best["accuracy"] == min(row["accuracy"] for row in checked["trials"])
    assert [encoder for _, encoder in found_systems(config, trials)] == [encoder_from_dict(best["encoder"])]
    analysis = {"draws": 1, "front": [], "hypervolume": None, "importance": None, "notes": []}
    row = {"trial": 0, "mean": 1.0, "stderr": 0.1}
    predictions = [{"model": "ax", "proposes": True, "trials": [row]}]
    text = tables({**checked, "analysis": {**analysis, "predictions": predictions}})
    assert f"ax,1,0,{trials[0].result['teacher_agreement']},0.25,1.0,0.1" in text["predictions.csv"]
    header = text["trials.csv"].splitlines()[0]
    assert "accuracy,accuracy_stderr,teacher_agreement,teacher_agreement_stderr,teacher_kl,teacher_kl_stderr" in header


def test_a_history_without_its_score_is_refused(tmp_path: Path) -> None:
    trials = search(
        dataclasses.replace(CONFIG, num_trials=2),
        tmp_path / "journal",
        lambda job: accuracy(encoder_from_dict(job["encoder"])),
    )
    found = history(CONFIG, trials, "micro")
    assert parse_history(found).objectives.score == "accuracy"
    objective = found["objectives"].pop("accuracy")
    with pytest.raises(RecordError, match="expected accuracy or teacher_agreement beside latency"):
        parse_history(found)
    found["objectives"]["teacher_agreement"] = objective
    with pytest.raises(RecordError, match="trial 0: a completed trial needs teacher_agreement"):
        parse_history(found)
