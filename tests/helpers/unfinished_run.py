"""The folder of a run whose search goes on: settings, markers and a journal, as a run leaves them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.cli.gin_loader import load_run_config
from benchmark.config import RunConfig, SearchConfig
from benchmark.pipeline.workdir import write_run_identity
from benchmark.search.journal import Journal
from benchmark.search.space import enumerate_points
from tests.helpers.mnli_run import TINY

ACCURACIES = (41.0, 42.5, 39.0, 44.0, 43.0, 45.5, 40.0, 44.5)


def run_config(num_trials: int = 8, **changes: Any) -> RunConfig:
    """The tiny run with another number of trials; `changes` are fields of its SearchConfig."""
    config = load_run_config([str(TINY)])
    assert config.search is not None
    return dataclasses.replace(config, search=dataclasses.replace(config.search, num_trials=num_trials, **changes))


def search_of(config: RunConfig) -> SearchConfig:
    assert config.search is not None
    return config.search


def make_unfinished(folder: Path, config: RunConfig) -> Path:
    """Makes the folder of a run that has its teacher and begins its search."""
    write_run_identity(folder, config, "", {})
    for name in ("data/data.json", "teacher/stage.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps({"fingerprint": "0", "result": {}, "seconds": 1.0}))
    return folder


def outcome(number: int, seconds: float = 10.0) -> dict[str, Any]:
    """Result of a trial: accuracy and latency go up and down together, with a ripple."""
    return {
        "accuracy": ACCURACIES[number],
        "accuracy_stderr": 0.5,
        "loss": 2.0,
        "steps": 30,
        "seconds": seconds,
        "compile_seconds": 1.0,
        "suggest_seconds": 0.1,
        "latency_s": 1e-3 * (1 + number % 4),
        "parameters": 10_000 + number,
    }


def write_trials(
    folder: Path, config: RunConfig, ended: int, *, begun: int | None = None, failed: Sequence[int] = ()
) -> None:
    """Adds to the journal: trials up to `begun` are started, and those up to `ended` have ended."""
    points = enumerate_points(search_of(config).space)
    with Journal(folder / "search" / "journal.jsonl") as journal:
        for number in range(len(journal.trials), ended if begun is None else begun):
            journal.start([(dict(points[number]), "design" if number < 2 else "ax")])
        for trial in [t for t in journal.trials if t.status == "running"]:
            if trial.number >= ended:
                continue
            result = outcome(trial.number)
            if trial.number in failed:
                known = {name: result[name] for name in ("seconds", "suggest_seconds", "latency_s", "parameters")}
                journal.finish(trial, "failed", known | {"error": "loss is nan", "reason": "error"})
            else:
                journal.finish(trial, "completed", result)
