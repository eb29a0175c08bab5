"""Command lines that answer every mistake with one line: the parser, and checks of what a flag names."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from tasks.system.errors import InputError, nearest, shown

# Files are opened by path: `Path` would make the folder `gs:` of `gs://bucket`.
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class OneLineParser(argparse.ArgumentParser):
    """A parser that raises `InputError` where argparse prints usage and error and exits; so do its subcommands.

    Flags cannot be abbreviated, and an argument of type `Path` is neither empty nor an address such as `gs://bucket`.
    """

    def __init__(self, **settings: Any) -> None:
        """Takes the keywords of `argparse.ArgumentParser`."""
        super().__init__(allow_abbrev=False, **settings)
        self.register("type", Path, local_path)

    def error(self, message: str) -> NoReturn:
        """Raises `InputError` with the message of argparse."""
        raise InputError(message.removeprefix("argument "))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses as argparse does, which also calls it for a subcommand.

        Raises:
            InputError: an argument does not exist; the message has the accepted flags.
        """
        flags, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            hint = nearest(unknown[0].partition("=")[0], known)
            raise InputError(f"unknown argument {shown(unknown[0])!r}{hint}; accepted: {', '.join(known)}")
        return flags, unknown


def local_path(text: str) -> Path:
    """Reads a path, as the type of a flag.

    Raises:
        argparse.ArgumentTypeError: it is empty, or an address such as `gs://bucket`.
    """
    if not text:
        raise argparse.ArgumentTypeError("expected a path, found ''")
    if _REMOTE.match(text):
        raise argparse.ArgumentTypeError(
            f"expected a path, found the address {shown(text)!r}; mount it (gcsfuse, s3fs, NFS) and give the path of"
            " the mounted folder, or copy from and to a local one"
        )
    return Path(text)


def at_least(lowest: int) -> Callable[[str], int]:
    """Makes the type of a flag that takes whole numbers from `lowest` on."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or number < lowest:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {lowest}, found {shown(text)!r}")
        return number

    return parse


def check_output_file(flag: str, path: Path | None) -> None:
    """Refuses a file that could not be written after the work, before the work begins; None is accepted.

    Raises:
        InputError: something else than a file is there, or its folder cannot be written to.
    """
    if path is None:
        return
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{flag}={path}: expected a file, found {'a folder' if path.is_dir() else 'a device'}")
    except OSError as error:
        raise InputError(f"{flag}={shown(path)}: {error.strerror}") from None
    _check_folder(flag, path, path.parent)


def check_output_folder(flag: str, path: Path | None) -> None:
    """Refuses a folder that could not be written to after the work, before the work begins; None is accepted.

    Raises:
        InputError: a file is in its place or above it, or it cannot be written to.
    """
    if path is not None:
        _check_folder(flag, path, path)


def _check_folder(flag: str, path: Path, folder: Path) -> None:
    """Checks the lowest existing one of a folder and those above it."""
    try:
        existing = next(one for one in (folder, *folder.parents) if one.exists())
    except OSError as error:
        raise InputError(f"{flag}={shown(path)}: {error.strerror}") from None
    if not existing.is_dir():
        raise InputError(f"{flag}={path}: expected a folder, but {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{flag}={path}: expected a folder to write to, but {existing} does not permit it")
