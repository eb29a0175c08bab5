"""The exit codes of commands."""

from __future__ import annotations

import os
import subprocess
import sys

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


def test_an_interrupt_ends_a_command_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise KeyboardInterrupt

    assert run_command(work) == 130
    assert capsys.readouterr().err == "interrupted\n"
