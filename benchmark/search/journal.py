"""The search journal: append-only JSON lines, one for each change of a trial, on disk before the change counts."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class JournalError(ValueError):
    """A journal that cannot be continued; the message is one line naming file and line."""


@dataclass
class Trial:
    """One trial as the journal tells it; `status` is running, completed or failed."""

    number: int
    point: dict[str, int]
    generator: str
    status: str = "running"
    result: dict[str, Any] = field(default_factory=dict)


class Journal:
    """Reads a journal and appends to it.

    A last line that a kill tore off is dropped, and with it a change that never counted.
    """

    def __init__(self, path: Path) -> None:
        """Opens `path`, which need not exist yet.

        Raises:
            JournalError: a line before the last is not a journal entry.
        """
        self.path = path
        self.trials: list[Trial] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.exists() else b""
        whole, _, torn = content.rpartition(b"\n")
        if torn:
            with path.open("r+b") as file:
                file.truncate(len(content) - len(torn))
        for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
            try:
                self._apply(json.loads(line))
            except (ValueError, KeyError, IndexError, TypeError) as error:
                raise JournalError(f"{path}:{number}: not an entry of the search journal: {error!r}") from None

    def _apply(self, entry: dict[str, Any]) -> None:
        if entry["event"] == "start":
            if entry["trial"] != len(self.trials):
                raise ValueError(f"trial {entry['trial']} out of order")
            self.trials.append(Trial(entry["trial"], entry["point"], entry["generator"]))
        else:
            trial = self.trials[entry["trial"]]
            trial.status, trial.result = entry["event"], entry["result"]

    def _append(self, entry: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, sort_keys=True, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._apply(entry)

    def start(self, point: dict[str, int], generator: str) -> Trial:
        """Writes down that a trial begins."""
        self._append({"event": "start", "trial": len(self.trials), "point": point, "generator": generator})
        return self.trials[-1]

    def finish(self, trial: Trial, status: str, result: dict[str, Any]) -> None:
        """Writes down how a trial ended: `completed` or `failed`."""
        self._append({"event": status, "trial": trial.number, "result": result})
