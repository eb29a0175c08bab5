"""Leases: one writer at a time, however the last one ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.search.journal import Journal, read_trials
from benchmark.search.lease import Lease, identity
from tasks.system.errors import StageError
from tasks.system.repository import REPOSITORY

HOLD = """
import sys, time
from pathlib import Path
from benchmark.search.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.start([({"a": 1}, "sobol")])
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_writer_waits_until_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout and child.stdout.readline() == "held\n"
        with pytest.raises(StageError) as caught:
            Journal(path)
        assert f"process {child.pid} on {identity()['host']} writes here" in str(caught.value)
        assert "\n" not in str(caught.value)
        # Reading is always allowed.
        assert [t.status for t in read_trials(path)] == ["running"]
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    with Journal(path) as journal:
        journal.finish(journal.trials[0], "completed", {})
    assert [t.status for t in read_trials(path)] == ["completed"]


def test_the_holder_is_known_where_locks_are_not(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    # A living process that holds no lock, as on a file system that keeps none.
    command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert child.stdout and child.stdout.readline()
        stat = Path(f"/proc/{child.pid}/stat").read_text()
        holder = identity() | {"pid": child.pid, "started": int(stat.rpartition(")")[2].split()[19])}
        path.write_text(json.dumps(holder))
        with pytest.raises(StageError, match=f"process {child.pid} "):
            Lease(path)
        # The number was given to another process, the machine was restarted, or the file was torn.
        others = ({"started": 1}, {"boot_id": "another"}, {"pid": 2**22 + 1}, {"pid": "x"}, {"started": None})
        for text in (*(json.dumps(holder | other) for other in others), "", "[1]", '{"pid": 1'):
            path.write_text(text)
            Lease(path).release()
            assert path.read_text() == ""
    finally:
        child.kill()
        child.wait()
