"""The two families of errors, the exit codes of commands, and the wording that messages share."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

# Exit codes of every command; 0 is success of all that was asked for. The last two are those of a shell after a signal,
# 128 plus its number: SIGINT for an interrupt, SIGPIPE where nobody reads standard output any more.
FAILED, BAD_INPUT, INTERRUPTED, CLOSED_PIPE = 1, 2, 130, 141


class InputError(ValueError):
    """Input that cannot be used: the message is one line with the place, the value and the accepted values."""

    def __init__(self, message: str) -> None:
        """Keeps the message on one line of printable characters, so that a command can print it as it is."""
        super().__init__(one_line(message))


class DataError(InputError):
    """Data files or a request for data that cannot be used."""


class StageError(RuntimeError):
    """Work that began and failed; the message is one line, and the same command tries again."""


def run_command(work: Callable[[], int], interrupted: str = "interrupted") -> int:
    """Runs a command and prints its error as one line on standard error.

    A closed pipe on standard output (`| head`) ends the command without a message. What the system refuses (a full
    disk, a folder that cannot be written, a name that is too long) is one line too. Any other exception is a defect and
    shows its traceback.

    Args:
        work: the command; returns its exit code.
        interrupted: the line on standard error after an interrupt (Ctrl-C).

    Returns:
        The exit code: `BAD_INPUT` after an `InputError`, `FAILED` after a `StageError` or an `OSError`, `INTERRUPTED`
        after an interrupt, `CLOSED_PIPE` after a `BrokenPipeError`.
    """
    try:
        code = work()
        _flush_output()
        return code
    except BrokenPipeError:
        _discard_output()
        return CLOSED_PIPE
    except (InputError, StageError) as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return BAD_INPUT if isinstance(error, InputError) else FAILED
    except OSError as error:
        print(f"error: {one_line(system_message(error))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return INTERRUPTED


def _flush_output() -> None:
    if sys.stdout is None:  # closed by the caller (`>&-`), so that nothing was to be printed
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_output()
        raise StageError(f"standard output: {error.strerror}") from None


def _discard_output() -> None:
    """Leads standard output nowhere: Python flushes it once more when it exits, which would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def named_files() -> Iterator[None]:
    """Turns the system's refusal to read or write a file of the command line into an `InputError`."""
    try:
        yield
    except BrokenPipeError:
        raise  # standard output, which is no file of the command line
    except OSError as error:
        raise InputError(str(error)) from error


def system_message(error: OSError) -> str:
    """Words an error of the operating system: the file, where it names one, and the system's reason."""
    names = [shown(name, 200) for name in (error.filename, error.filename2) if name is not None]
    return ": ".join([" -> ".join(map(str, names))] * bool(names) + [error.strerror or str(error) or repr(error)])


def one_line(text: str) -> str:
    """Puts a text on one line; characters that do not print are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.split()))


def shown(value: object, limit: int = 80) -> str:
    """Shortens the text of a value for a message with `...`: a cell of a file may be a megabyte long."""
    text = str(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?` for the most similar known name, or nothing where none is similar."""
    close = _similar(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def nearest_match_hint(name: str, known: Iterable[str]) -> str:
    """Returns `did you mean A or B?` for up to three similar names, or all known names where none is similar."""
    choices = sorted(known)
    close = _similar(name, choices, 3)
    return f"did you mean {' or '.join(close)}?" if close else f"known names: {', '.join(choices)}"


def _similar(name: str, known: Iterable[str], count: int) -> list[str]:
    """Lists the most similar known names, best first; letter case does not count."""
    by_lower = {k.lower(): k for k in sorted(known, reverse=True)}
    return [by_lower[close] for close in difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.6)]
