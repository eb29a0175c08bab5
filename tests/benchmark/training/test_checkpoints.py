"""Checkpoints where the system refuses to write them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tasks.system.repository import REPOSITORY

SAVES = """
import resource, sys
from pathlib import Path

import numpy as np

from benchmark.training import checkpoints
from tasks.system.errors import run_command

values = np.random.default_rng(0).standard_normal((100, 100)).astype(np.float32)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
sys.exit(run_command(lambda: checkpoints.save(Path(sys.argv[1]), {"a": values}) or 0))
"""


def test_what_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    """A limit of the size of files stands for a full disk."""
    command = [sys.executable, "-c", SAVES, str(tmp_path / "params")]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    assert (ended.returncode, ended.stderr) == (1, f"error: {tmp_path / 'params'}: File too large\n")
    assert not (tmp_path / "params").exists()
