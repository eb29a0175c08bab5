"""The search journal: append-only JSON lines, one for each change, on disk before the change counts.

One process writes it at a time (`benchmark.search.lease`); any number may read it meanwhile (`read_trials`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.search.lease import Lease
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from benchmark.config import SearchConfig

# The ways in which a trial can end.
ENDS = ("completed", "failed", "stopped")


@dataclass
class Trial:
    """One trial, as the journal has it."""

    # Place in the order of starts, from 0.
    number: int
    # Its architecture.
    point: dict[str, int]
    # The algorithm that proposed it, `design` or `attach`.
    generator: str
    # `running`, `completed`, `failed`, or `stopped` at a rung.
    status: str = "running"
    # The outcome at the end.
    result: dict[str, Any] = field(default_factory=dict)
    # The outcome at each rung so far.
    rungs: list[dict[str, Any]] = field(default_factory=list)
    # Number of the first of the trials that were proposed together with it.
    group: int = 0


def read_trials(path: Path) -> list[Trial]:
    """Reads the trials of a journal that may be written meanwhile; a last line without its end does not count.

    Raises:
        StageError: a line is not a journal entry.
    """
    trials: list[Trial] = []
    whole, _, _ = (path.read_bytes() if path.exists() else b"").rpartition(b"\n")
    for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
        try:
            _apply(trials, json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
            raise StageError(f"{path}:{number}: not an entry of the search journal: {error!r}") from None
    return trials


def _apply(trials: list[Trial], entry: dict[str, Any]) -> None:
    if entry["event"] == "start":
        if entry["trial"] != len(trials):
            raise ValueError(f"trial {entry['trial']} out of order")
        for number, choice in enumerate(entry["choices"], start=entry["trial"]):
            trials.append(Trial(number, choice["point"], choice["generator"], group=entry["trial"]))
    elif entry["event"] in ("rung", *ENDS):
        trial = next(t for t in trials if t.number == entry["trial"] and t.status == "running")
        if entry["event"] in ("rung", "stopped"):
            trial.rungs.append(entry["result"])
        if entry["event"] in ENDS:
            trial.status, trial.result = entry["event"], entry["result"]
    else:
        raise ValueError(f"unknown event {entry['event']!r}")


class Journal:
    """A journal that this process writes, until `close` or its end.

    A last line that a kill tore off is dropped, and with it a change that never counted.
    """

    def __init__(self, path: Path) -> None:
        """Opens `path`, which need not exist yet.

        Raises:
            StageError: a line before the last is not a journal entry.
            StageError: another process writes it.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lease = Lease(path.with_name(path.name + ".lease"))
        content = path.read_bytes() if path.exists() else b""
        torn = content.rpartition(b"\n")[2]
        if torn:
            with path.open("r+b") as file:
                file.truncate(len(content) - len(torn))
        self.trials = read_trials(path)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Releases the right to write."""
        self._lease.release()

    def _append(self, entry: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, sort_keys=True, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        _apply(self.trials, entry)

    def start(self, choices: Sequence[tuple[dict[str, int], str]]) -> list[Trial]:
        """Records the start of trials that were proposed together: pairs of a point and its generator.

        They share one line. Were half of them on disk when the process dies, the other half would be proposed again,
        from other observations than in an undisturbed run.
        """
        first = len(self.trials)
        entries = [{"point": point, "generator": generator} for point, generator in choices]
        self._append({"event": "start", "trial": first, "choices": entries})
        return self.trials[first:]

    def record_rung(self, trial: Trial, result: dict[str, Any]) -> None:
        """Records that a trial reached its next rung and continues."""
        self._append({"event": "rung", "trial": trial.number, "result": result})

    def finish(self, trial: Trial, status: str, result: dict[str, Any]) -> None:
        """Records the end of a trial, one of `ENDS`; a stopped one ends with the outcome at its last rung."""
        self._append({"event": status, "trial": trial.number, "result": result})


def refuse_cut_group(config: SearchConfig, trials: list[Trial]) -> None:
    """Refuses to go on from a search whose last group was cut by its budget: a fresh one would propose other points.

    Raises:
        StageError: it was, and another `SearchConfig.num_trials` asks for more.
    """
    last = [trial for trial in trials if trial.group == trials[-1].group] if trials else []
    whole = len(last) in (0, config.parallel_trials) or any(trial.generator == "attach" for trial in last)
    if not whole and not config.asynchronous:
        raise StageError(
            f"SearchConfig.num_trials = {config.num_trials}: the {len(trials)} trials of this folder end inside a group"
            f" of parallel_trials = {config.parallel_trials}, so that a longer search would not be the one that these"
            " settings give; accepted: another --workdir"
        )
