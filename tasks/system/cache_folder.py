"""The folder of the cache of results, and the sizes of its flags."""

from __future__ import annotations

import argparse
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from tasks.system.command_line import local_path
from tasks.system.errors import shown

VARIABLE = "AUTODISTILL_CACHE"
OFF = ("", "none")
DEFAULT_LIMIT = "20GB"

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?B)", re.IGNORECASE)
# By this file programs that make backups know a cache (bford.info/cachedir).
_TAG = "CACHEDIR.TAG"
_TAG_TEXT = """\
Signature: 8a477f597d28d172789f06886806bc55
# Results that runs of AutoDistill-Bench share; all of them can be made again.
"""


def cache_folder(flag: str | None, environment: Mapping[str, str]) -> Path | None:
    """Chooses the folder of the cache; None where it is switched off, or there is no home for it.

    Args:
        flag: the value of `--cache_dir`; None where it is not given. '' and 'none' switch the cache off.
        environment: `AUTODISTILL_CACHE` stands for the flag where that is missing, and without both the folder is
            `autodistill-bench` in `XDG_CACHE_HOME` or in `~/.cache`.
    """
    given = environment.get(VARIABLE) if flag is None else flag
    if given is not None:
        path = Path(os.path.expanduser(given))  # noqa: PTH111  (no error of unknown users)
        return None if given.strip() in OFF else path.absolute()
    # By the XDG Base Directory Specification a relative path is to be ignored.
    base = Path(environment.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        base = Path(os.path.expanduser("~"), ".cache")  # noqa: PTH111  (no error of unknown users)
    return base / "autodistill-bench" if base.is_absolute() else None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--cache_dir` and `--cache_limit` to the parser of a command that computes."""
    parser.add_argument(
        "--cache_dir",
        type=folder_flag,
        metavar="DIR",
        help=f"folder of results that runs share; '' or none: no such folder (default: ${VARIABLE}, or"
        " autodistill-bench in $XDG_CACHE_HOME or ~/.cache)",
    )
    limit = f"its size, above which what was used least recently goes (default: {DEFAULT_LIMIT})"
    parser.add_argument("--cache_limit", type=size, default=size(DEFAULT_LIMIT), metavar="SIZE", help=limit)


def folder_flag(text: str) -> str:
    """Reads the value of `--cache_dir`, as the type of the flag.

    Raises:
        argparse.ArgumentTypeError: it is an address such as `gs://bucket`.
    """
    return text if text.strip() in OFF else str(local_path(text))


def prepare(folder: Path) -> None:
    """Makes the folder, where there is none, and tries to write to it.

    Raises:
        OSError: it cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".probe-{secrets.token_hex(4)}"
    probe.mkdir()
    probe.rmdir()
    if not (folder / _TAG).exists():
        (folder / _TAG).write_text(_TAG_TEXT, encoding="utf-8")


def size(text: str) -> int:
    """Reads a size, such as `20GB`, as the type of a flag.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(
            f"expected a number with its unit ({', '.join(_UNITS)}), such as {DEFAULT_LIMIT}, found {shown(text)!r}"
        )
    return int(float(match[1]) * _UNITS[match[2].upper()])


def shown_size(count: int) -> str:
    """Words a number of bytes: `1.5 GB`."""
    unit = next((unit for unit in reversed(_UNITS) if count >= _UNITS[unit]), "B")
    return f"{count / _UNITS[unit]:.1f} {unit}" if unit != "B" else f"{count} B"
