"""The tiny run of `tiny.gin` through the command line, for tests that need a complete one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmark.records.record import comparable, read
from tasks.system.repository import REPOSITORY
from tests.conftest import NUMERICS_FLAG

COMMAND = [sys.executable, "run_benchmark.py", f"--gin_file={Path(__file__).with_name('tiny.gin')}", NUMERICS_FLAG]


def environment() -> dict[str, str]:
    """That of the tests, with their cache of compiled programs, of which small ones are kept too."""
    return {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


def start(workdir: Path, *flags: str, python: str = sys.executable) -> subprocess.Popen[str]:
    """Starts the tiny run in a process group of its own, so that a kill takes its children along."""
    return subprocess.Popen(
        [python, *COMMAND[1:], f"--workdir={workdir}", *flags],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=environment(),
    )


def finish(workdir: Path, *flags: str) -> str:
    """Runs to the end; returns the output."""
    process = start(workdir, *flags)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def results(workdir: Path) -> dict[str, Any]:
    """Everything comparable in the records of a run."""
    return {path.name: comparable(read(path)) for path in sorted((workdir / "results").glob("*.json"))}
