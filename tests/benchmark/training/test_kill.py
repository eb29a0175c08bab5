"""A training run that is killed at any moment, and started again, ends with the bits of one that was not."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.system.repository import REPOSITORY


class Outcome(NamedTuple):
    """What an undisturbed run printed and wrote: digest of the parameters, number of moments, lines of metrics."""

    digest: str
    moments: int
    lines: list[dict[str, Any]]


def lines(directory: Path) -> list[dict[str, Any]]:
    """The metrics without what depends on the clock."""
    read = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in read]


def train(directory: Path, kill_at: int, cache: Path) -> subprocess.CompletedProcess[str]:
    """Starts the run in a process that kills itself at a moment."""
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "tests" / "helpers" / "fit_child.py"), str(directory), str(kill_at)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled programs, which all runs share: most of their time is compiling."""
    return tmp_path_factory.mktemp("xla")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Outcome:
    directory = tmp_path_factory.mktemp("whole")
    process = train(directory, 0, cache)
    assert process.returncode == 0, process.stderr
    _, digest, moments = process.stdout.splitlines()[-1].split()
    return Outcome(digest, int(moments), lines(directory))


# Moments are batches and changes of files alike; a run has some 130 of them, most while a checkpoint is written.
@pytest.mark.slow
@settings(max_examples=3)
@given(kills=st.lists(st.integers(1, 130), min_size=1, max_size=2))
def test_a_killed_run_ends_with_the_same_bits(
    undisturbed: Outcome, tmp_path_factory: pytest.TempPathFactory, cache: Path, kills: list[int]
) -> None:
    directory = tmp_path_factory.mktemp("killed")
    assert undisturbed.moments > 100
    killed = [train(directory, kill, cache).returncode for kill in kills]
    # A run that went on after a checkpoint has fewer moments, and may have ended before its own.
    assert killed[0] == -signal.SIGKILL and set(killed) <= {0, -signal.SIGKILL}
    process = train(directory, 0, cache)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1].split()[1] == undisturbed.digest
    assert lines(directory) == undisturbed.lines
