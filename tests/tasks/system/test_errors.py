"""The exit codes of commands."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

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


def test_an_interrupt_ends_a_command_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise KeyboardInterrupt

    assert run_command(work) == 130
    assert capsys.readouterr().err == "interrupted\n"
