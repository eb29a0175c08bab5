"""What an existing folder holds of a run, so that a forecast is of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.config import encoder_from_dict, fingerprint
from benchmark.pipeline.workdir import RunError, adds_to_run, finished, read_json
from benchmark.search.journal import read_trials
from benchmark.training.fit import CHECKPOINTS
from tasks.materialize import upkeep
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig, RunConfig

# A phase whose result is kept.
ALL_STEPS = 2**62


@dataclass(frozen=True)
class Done:
    """Finished parts of a run.

    Attributes:
        data: True where the token arrays are there.
        teacher: True where the teacher is trained.
        teacher_steps: steps up to its last checkpoint, where it is not.
        search: True where the search has ended.
        trials: trials that ended, where it has not.
        found: the found students, once the search has ended.
        systems: students that are distilled, or made otherwise.
        phase_steps: steps of a student's phase that are done, by student and phase.
        predictions: (system, task, seed) that are fine-tuned and predicted.
        rates: (system, task, trial) of the learning rates that were tried.
        latency: True where latencies are measured.
    """

    data: bool = False
    teacher: bool = False
    teacher_steps: int = 0
    search: bool = False
    trials: int = 0
    found: Mapping[str, EncoderConfig] = field(default_factory=dict)
    systems: frozenset[str] = frozenset()
    phase_steps: Mapping[tuple[str, str], int] = field(default_factory=dict)
    predictions: frozenset[tuple[str, str, int]] = frozenset()
    rates: frozenset[tuple[str, str, str]] = frozenset()
    latency: bool = False


def read_done(config: RunConfig, workdir: Path) -> Done:
    """Reads the markers of a run's folder; nothing is written or checked for damage.

    Raises:
        RunError: the folder holds a run of other settings, to which these do not add, or a marker cannot be read.
    """
    path = workdir / "config.json"
    if not path.is_file():
        return Done()
    grown = adds_to_run(workdir, config)
    same = not grown and finished(path, fingerprint(config), ()) is not None
    if not grown and not same:
        return Done()
    data = finished(workdir / "data" / "stage.json", fingerprint(config.data)) is not None
    data = data and upkeep.read_index(workdir / "data") is not None
    teacher, search = workdir / "teacher", workdir / "search"
    ended = _result(search / "stage.json") if config.search is not None else None
    trials = _ended_trials(search / "journal.jsonl")
    whole = config.search is not None and ended is not None and ended.get("trials", 0) >= config.search.num_trials
    found = (ended or {}).get("found", {}) if whole or same else {}
    students = {folder.parent.name for folder in workdir.glob("students/*/stage.json")}
    return Done(
        data=data,
        teacher=(teacher / "stage.json").is_file(),
        teacher_steps=_last_step(teacher / CHECKPOINTS),
        search=bool(whole or (same and ended is not None)),
        trials=trials,
        found={name: encoder_from_dict(values) for name, values in found.items()},
        systems=frozenset(students),
        phase_steps={
            (phase.parent.name, phase.name): ALL_STEPS
            if (phase / "result").is_dir()
            else _last_step(phase / CHECKPOINTS)
            for phase in workdir.glob("students/*/*")
            if (phase / "metrics.jsonl").is_file()
        },
        predictions=frozenset(_predictions(workdir / "evaluation")),
        rates=frozenset((p.parts[-3], p.parts[-2], p.stem) for p in workdir.glob("evaluation/*/*/rate-*.json")),
        latency=same and (workdir / "latency" / "stage.json").is_file(),
    )


def _result(path: Path) -> dict[str, Any] | None:
    """Reads the result of a marker; None where there is none."""
    if not path.is_file():
        return None
    marker = read_json(path)
    result = marker.get("result") if isinstance(marker, dict) else None
    if not isinstance(result, dict):
        raise RunError(f"{path}: damaged (without result); remove it and run its stage again")
    return result


def _ended_trials(journal: Path) -> int:
    try:
        return sum(trial.status != "running" for trial in read_trials(journal))
    except StageError:
        return 0


def _last_step(folder: Path) -> int:
    """Step of the newest checkpoint, whose folder it names."""
    return max((int(path.name) for path in folder.glob("*") if path.name.isdigit()), default=0)


def _predictions(folder: Path) -> list[tuple[str, str, int]]:
    found = []
    for path in folder.glob("*/*/seed*.json"):
        number = path.stem.removeprefix("seed")
        if number.isdigit():
            found.append((path.parent.parent.name, path.parent.name, int(number)))
    return found
