"""Work for tests of executors; workers of a cluster import it from here."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Recorded:
    """Notes who works on a job, then gives numbers that depend on the job alone.

    The first attempt at a job named `slow` waits for the file `go`; jobs named otherwise fail as they say.
    """

    folder: str

    def __call__(self, job: dict[str, Any]) -> dict[str, float]:
        folder, kind, value = Path(self.folder), job["kind"], float(job["value"])
        attempts = len(list(folder.glob(f"{value:g}-*")))
        (folder / f"{value:g}-{attempts}").write_text(str(os.getpid()))
        if kind == "slow" and attempts == 0 or kind == "stuck":
            while not (folder / "go").exists():
                time.sleep(0.02)
        if kind == "nan":
            value = float("nan")
        if kind == "error":
            raise RuntimeError("it broke\nhere")
        if kind == "memory":
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory while trying to allocate 1 byte")
        if kind == "bug":
            raise KeyError("a mistake in the code")
        if kind == "crash":
            os._exit(1)
        return {"accuracy": value * 2.0}
