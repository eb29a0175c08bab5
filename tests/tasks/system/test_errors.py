"""The exit codes of commands."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.__main__ import main
from tasks.system.errors import run_command
from tasks.system.repository import REPOSITORY

# One line stays in the buffer until the command ends; many lines fill it while the command prints.
PRINTS = """
import sys
from tasks.system.errors import named_files, run_command

def work():
    with named_files():
        for number in range({lines}):
            print(number)
    return 0

sys.exit(run_command(work))
"""


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_closed_pipe_ends_a_command_quietly_as_unix_tools_end(lines: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", PRINTS.format(lines=lines)]
    ended = subprocess.run(command, cwd=REPOSITORY, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("place", "code", "said"),
    [("&-", 0, b""), ("/dev/full", 1, b"error: standard output: No space left on device\n")],
)
def test_standard_output_that_takes_nothing(place: str, code: int, said: bytes) -> None:
    command = ["bash", "-c", f'"$@" >{place}', "-", sys.executable, "-c", PRINTS.format(lines=1)]
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    ended = subprocess.run(command, cwd=REPOSITORY, stderr=subprocess.PIPE, timeout=60, check=False, env=buffered)
    assert (ended.returncode, ended.stderr) == (code, said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lst"], "command: invalid choice: 'lst' (choose from 'list', 'describe', 'verify-data')"),
        (["list", "--all"], "unknown argument '--all'; accepted: -h, --help"),
        (["describe", "glue_sst2_v1", "--dta=x"], "unknown argument '--dta=x'; did you mean '--data'?"),
        (["describe", "glue_sst2_v1", "--data="], "--data: expected a path, found ''"),
    ],
)
def test_a_mistaken_command_line_gets_one_line(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(words) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith(f"error: {said}") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "/a/b: Permission denied"),
        (OSError(errno.EXDEV, "Cross-device link", "/a", None, "/b"), "/a -> /b: Cross-device link"),
        (OSError("in one\nword"), "in one word"),
        (OSError(), "OSError()"),
    ],
)
def test_what_the_system_refuses_is_one_line(capsys: pytest.CaptureFixture[str], error: OSError, said: str) -> None:
    def work() -> int:
        raise error

    assert run_command(work) == 1
    assert capsys.readouterr() == ("", f"error: {said}\n")


def test_names_and_limits_of_the_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The messages are those of real files: a name of 300 bytes, and a file larger than the limit of the process."""
    assert run_command(lambda: (tmp_path / ("x" * 300)).write_text("")) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}/xxx") and error.endswith(": File name too long\n")
    limited = f"""
import resource, sys
from pathlib import Path
from tasks.system.atomic_write import write_text
from tasks.system.errors import run_command

resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
sys.exit(run_command(lambda: write_text(Path({str(tmp_path / "file")!r}), "x" * 1000) or 0))
"""
    ended = subprocess.run(
        [sys.executable, "-c", limited], cwd=REPOSITORY, capture_output=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (1, b"error: File too large\n")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_ends_a_command_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise KeyboardInterrupt

    assert run_command(work) == 130
    assert capsys.readouterr().err == "interrupted\n"
