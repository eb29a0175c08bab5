"""Progress of a search as a whole: closed forms of the time left, one line for each trial, one bar."""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path
from typing import Any

import pytest

from benchmark.search import pace
from benchmark.search.journal import Journal, Trial
from benchmark.search.loop import run_search
from benchmark.search.pareto import hypervolume
from tests.helpers.searches import CONFIG, accuracy, quiet, threads


def trials(*seconds: float | None, status: str = "completed") -> list[Trial]:
    """Trials that took so long; None for one that runs."""
    result = {"accuracy": 40.0, "latency_s": 0.01}
    return [
        Trial(i, {}, "ax") if took is None else Trial(i, {}, "ax", status, result | {"seconds": took})
        for i, took in enumerate(seconds)
    ]


@pytest.mark.parametrize(
    ("found", "total", "workers", "expected"),
    [
        (trials(), 8, 2, None),
        (trials(None, None), 8, 2, None),
        # Equal trials: those left, one after the other, or in pairs.
        (trials(10.0, 10.0, 10.0), 8, 1, 50.0),
        (trials(10.0, 10.0, None, None), 8, 2, 30.0),
        # Five in pairs are three rounds, one is one.
        (trials(10.0, 10.0, 10.0, None, None), 8, 2, 30.0),
        (trials(10.0, 10.0), 3, 2, 10.0),
        # The median, which one slow trial does not move.
        (trials(10.0, 12.0, 500.0), 5, 1, 24.0),
        (trials(10.0, 20.0), 4, 1, 30.0),
        (trials(0.0, 10.0, 10.0, status="failed"), 6, 3, 10.0),
        (trials(10.0, 10.0), 2, 1, 0.0),
    ],
)
def test_time_left(found: list[Trial], total: int, workers: int, expected: float | None) -> None:
    assert pace.seconds_left(found, total, workers) == expected


def test_one_line_for_each_trial_and_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("benchmark.search.pace.time.perf_counter", lambda: now[0])
    config = dataclasses.replace(CONFIG, num_trials=4, parallel_trials=1)
    lines: list[str] = []
    shown: list[tuple[Any, ...]] = []

    def evaluate(*job: Any) -> dict[str, float]:
        now[0] += 30.0
        return accuracy(*job)

    done = run_search(
        *(config, Journal(tmp_path / "j"), threads(evaluate), 0, lines.append),
        show=lambda *state: shown.append(state),
    )
    states = [line.partition(" s; ")[2] for line in lines if line.startswith("trial ")]
    assert [state.split(", ")[:2] for state in states] == [
        [f"{i}/4 trials", f"{30 * i} s elapsed" if i < 4 else "2 min elapsed"] for i in (1, 2, 3, 4)
    ]
    points = [(t.result["accuracy"], t.result["latency_s"]) for t in done]
    volume = hypervolume(points, config.accuracy_threshold, config.latency_threshold_s)
    assert states[-1].endswith(f"best accuracy {max(points)[0]:.2f} %, hypervolume {volume:.3f}")
    assert all("\r" not in line and "\n" not in line for line in lines)
    # The bar is there from the start, has the same words, and goes at the end.
    assert [state[:3] for state in shown] == [("search", i, 4) for i in (0, 1, 2, 3, 4, 4)]
    assert [state[3] for state in shown[1:5]] == states


def test_a_resumed_search_counts_what_was_done(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, num_trials=4)
    run_search(config, Journal(tmp_path / "j"), threads(accuracy), 0, quiet)
    with Journal(tmp_path / "j") as journal:
        for trial in journal.trials:
            trial.result["seconds"] = 8.0 * 3600
        lines: list[str] = []
        longer = dataclasses.replace(config, num_trials=6, parallel_trials=2)
        run_search(longer, journal, threads(accuracy), 0, lines.append)
        took = [trial.result["seconds"] for trial in journal.trials]
    ended = [line.partition(" s; ")[2] for line in lines if line.startswith("trial ")]
    assert ended[0].startswith("5/6 trials, 0 s elapsed, ")
    assert statistics.median(took[:5]) == 8.0 * 3600
    assert ", 8.0 h left, " in ended[0]
    assert ended[1].startswith("6/6 trials, 0 s elapsed, 0 s left, ")


def test_a_small_space_ends_before_the_budget(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, num_trials=100)
    lines: list[str] = []
    run_search(config, Journal(tmp_path / "j"), threads(accuracy), 0, lines.append)
    assert "; 27/27 trials, " in lines[-1] and " 0 s left, " in lines[-1]


def test_the_end_of_each_trial_is_told_once(tmp_path: Path) -> None:
    told: list[tuple[int, str]] = []

    def failing(encoder: Any, number: int) -> dict[str, float]:
        if number == 1:
            raise RuntimeError("loss is nan")
        return accuracy(encoder, number)

    for num_trials in (2, 4):
        config = dataclasses.replace(CONFIG, num_trials=num_trials)
        run_search(
            *(config, Journal(tmp_path / "j"), threads(failing), 0, quiet),
            on_end=lambda trial: told.append((trial.number, trial.status)),
        )
    assert told == [(0, "completed"), (1, "failed"), (2, "completed"), (3, "completed")]
