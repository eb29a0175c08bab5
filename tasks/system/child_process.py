"""Child processes: a fresh interpreter that gets text on its standard input and answers in lines of JSON."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from tasks.system.errors import StageError
from tasks.system.repository import REPOSITORY


class ChildError(StageError):
    """A child that died, took too long, or did not answer in JSON; `log` is its standard error."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


def module_command(module: str) -> tuple[str, ...]:
    """Makes the command that runs a module of this checkout.

    `-P` leaves the current folder out of the places of modules, which `-m` would put first: a `tasks.py` there, or a
    package `benchmark`, would be taken for ours.
    """
    return (sys.executable, "-P", "-m", module)


def child_environment(base: Mapping[str, str], **variables: str) -> dict[str, str]:
    """Makes an environment in which a child finds the modules of this checkout, in any folder.

    Where the user has no home (no `HOME`, and no entry among the system's users, as in containers), it is the folder of
    temporary files: libraries fail without one, or make a folder `~` where they stand.
    """
    paths = filter(None, [str(REPOSITORY), base.get("PYTHONPATH")])
    home = {} if _has_home(base) else {"HOME": tempfile.gettempdir()}
    return {**base, **home, **variables, "PYTHONPATH": os.pathsep.join(paths)}


def _has_home(environment: Mapping[str, str]) -> bool:
    """Tells whether `~` means a folder, by the rules of `os.path.expanduser`."""
    if "HOME" in environment:
        return not environment["HOME"].startswith("~")
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True


class ChildProcess:
    """One child; `stop`, or the end of a `with` block, ends it."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], name: str, directory: Path | None = REPOSITORY
    ) -> None:
        """Starts it in a folder (None: that of this process); `name` is its task in messages, such as `compiling`."""
        self._name = name
        # Libraries write to it freely; it is shown only where the child dies.
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._log}
        self._process = subprocess.Popen(
            command, env=environment, cwd=directory, encoding="utf-8", errors="replace", **pipes
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """True while it runs."""
        return self._process.poll() is None

    def send(self, text: str, *, last: bool = True) -> None:
        """Writes to its standard input, and closes that after the last text."""
        # A child that ended reads nothing; reading its answer raises the reason.
        with suppress(BrokenPipeError):
            self._stdin.write(text)
            self._stdin.flush()
            if last:
                self._stdin.close()

    def output(self, text: str, timeout_s: float, late: str) -> str:
        """Sends all of its input, and waits for its end and all of its output.

        Raises:
            ChildError: it failed, or was killed after `timeout_s`, with the message `late`.
        """
        with self._limited(timeout_s, late):
            self.send(text)
            answer = self._stdout.read()
            code = self._process.wait()
        if code:
            raise self.death()
        return answer

    def ask(self, request: object, timeout_s: float, late: str) -> dict[str, Any]:
        """Sends a line and reads one, as `output` does.

        Raises:
            ChildError: it died, took too long, or did not answer in JSON.
            StageError: it answered with an error.
        """
        with self._limited(timeout_s, late):
            self.send(json.dumps(request) + "\n", last=False)
            line = self._stdout.readline()
        if not line.endswith("\n"):
            raise self.death()
        return self._answer(line)

    def answers(self, timeout_s: float = threading.TIMEOUT_MAX, late: str = "") -> Iterator[dict[str, Any]]:
        """Yields its answers as they come, until it ends; raises as `ask` does."""
        with self._limited(timeout_s, late):
            for line in self._stdout:
                yield self._answer(line)
            code = self._process.wait()
        if code:
            raise self.death()

    def death(self) -> ChildError:
        """Waits for its end, and makes the error with its exit code and the last line of its log."""
        code = self._process.wait()
        self._log.seek(0)
        log = self._log.read().strip()
        last = (log.splitlines() or ["no message"])[-1]
        return ChildError(f"the {self._name} process ended with code {code}: {last}", log)

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._stdin, self._stdout, self._log):
            with suppress(OSError):
                stream.close()

    def _answer(self, line: str) -> dict[str, Any]:
        try:
            values: dict[str, Any] = json.loads(line)
        except ValueError:
            self.stop()
            raise ChildError(f"the {self._name} process answered {line.strip()[:80]!r}: expected JSON") from None
        if "error" in values:
            raise StageError(values["error"])
        return values

    @contextmanager
    def _limited(self, seconds: float, late: str) -> Iterator[None]:
        """Kills the child if the block takes longer than some seconds, and then raises a `ChildError`."""
        killed = threading.Event()

        def kill() -> None:
            killed.set()
            self._process.kill()

        timer = threading.Timer(seconds, kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
        if killed.is_set():
            raise ChildError(late)
