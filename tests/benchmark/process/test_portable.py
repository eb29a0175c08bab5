"""Every machine computes the digests of `tests/data/portable_digests.json` (docs/reproducibility.md).

Where one differs, `python -m tests.helpers.portable_programs` says which; where a change of the code is meant to change
them, `python -m tests.helpers.portable_programs --write` makes them again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.process import numerics
from tasks.system.repository import REPOSITORY
from tests.conftest import NUMERICS
from tests.helpers import portable_programs

KNOWN = json.loads(portable_programs.FILE.read_text(encoding="utf-8"))
EMULATOR = shutil.which("qemu-x86_64")
pytestmark = pytest.mark.skipif(NUMERICS != "portable", reason="the tests run with native numerics")


def test_every_program_has_digests() -> None:
    assert set(KNOWN) == set(portable_programs.PROGRAMS)


@pytest.mark.parametrize("name", portable_programs.PROGRAMS)
def test_this_machine_computes_what_every_machine_does(name: str) -> None:
    assert portable_programs.PROGRAMS[name]() == KNOWN[name]


def run(name: str, *prefix: str, threads: int = 2, **variables: str) -> str:
    """Runs a program in a process of its own; gives its line."""
    environment = {**numerics.native_environment(os.environ), **variables}
    words = ["-m", "tests.helpers.portable_programs", name, f"--reduction_threads={threads}"]
    done = subprocess.run(
        [*prefix, *words], cwd=REPOSITORY, capture_output=True, text=True, env=environment, timeout=900, check=False
    )
    assert done.stdout, done.stderr
    return done.stdout


def test_a_machine_of_four_threads() -> None:
    assert ": equal" in run(portable_programs.SMALLEST, sys.executable, NPROC="4", PJRT_NPROC="4")


@pytest.mark.skipif(shutil.which("taskset") is None, reason="taskset is not installed (util-linux)")
def test_one_core() -> None:
    core = min(os.sched_getaffinity(0))
    assert ": equal" in run(portable_programs.SMALLEST, "taskset", "-c", str(core), sys.executable)


def test_the_number_of_threads_matters() -> None:
    """A sum that is not divided has other bits than one that is: the digests can tell."""
    assert ": different" in run(portable_programs.SMALLEST, sys.executable, threads=1)


@pytest.mark.slow
@pytest.mark.skipif(EMULATOR is None, reason="qemu-x86_64 is not installed (Debian: qemu-user)")
@pytest.mark.parametrize("processor", ["EPYC-Rome", "Haswell"])
def test_an_emulated_processor(processor: str) -> None:
    # The emulator follows the link of a virtual environment's Python, and loses its packages on the way.
    packages = [path for path in sys.path if path.endswith("site-packages")]
    python = str(Path(sys.executable).resolve())
    line = run(
        portable_programs.SMALLEST, str(EMULATOR), "-cpu", processor, python, PYTHONPATH=os.pathsep.join(packages)
    )
    assert ": equal" in line
