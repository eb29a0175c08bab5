"""The cache of results that runs share: `python -m benchmark.commands.cache list`, `gc --limit=SIZE`, or `clear`."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tasks.system.cache_entries import Entry, collect, entries
from tasks.system.cache_folder import DEFAULT_LIMIT, cache_folder, folder_flag, shown_size, size
from tasks.system.command_line import OneLineParser
from tasks.system.errors import InputError, named_files, run_command

_FOLDER = "the folder (default: as for run_benchmark.py)"


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the subcommands."""
    parser = OneLineParser(prog="python -m benchmark.commands.cache", description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    shows = commands.add_parser("list", help="list the entries, the least recently used first")
    collects = commands.add_parser("gc", help="remove the least recently used entries above a limit")
    collects.add_argument(
        "--limit",
        type=size,
        default=size(DEFAULT_LIMIT),
        metavar="SIZE",
        help=f"size to keep (default: {DEFAULT_LIMIT})",
    )
    clears = commands.add_parser("clear", help="remove all entries")
    for command in (shows, collects, clears):
        command.add_argument("--cache_dir", type=folder_flag, metavar="DIR", help=_FOLDER)
    return parser


def line(entry: Entry) -> str:
    """Words an entry: when it was used last, its size, the seconds that it took, kind, start of its key, title."""
    used = datetime.datetime.fromtimestamp(entry.used)
    key = entry.path.name.rpartition("-")[2][:12]
    bulk, seconds = shown_size(entry.size), f"{entry.seconds:,.1f} s"
    return f"{used:%Y-%m-%d %H:%M} {bulk:>9} {seconds:>11}  {entry.kind:<12} {key}  {entry.title}"


def total(found: Sequence[Entry]) -> str:
    """Words the number of entries and their size."""
    count = f"{len(found)} {'entry' if len(found) == 1 else 'entries'}"
    return f"{count}, {shown_size(sum(entry.size for entry in found))}"


def _work(flags: argparse.Namespace) -> int:
    folder = cache_folder(flags.cache_dir, os.environ)
    if folder is None:
        raise InputError("--cache_dir: the cache is switched off; expected a folder")
    with named_files():
        if not folder.is_dir():
            _refuse_file(folder)
            print(f"{folder}: {total([])}")
        elif flags.command == "list":
            found = entries(folder)
            print("\n".join([*map(line, found), f"{folder}: {total(found)}"]))
        else:
            # No entry is smaller than nothing.
            removed = collect(folder, flags.limit if flags.command == "gc" else -1)
            print(f"{folder}: removed {total(removed)}; left {total(entries(folder))}")
    return 0


def _refuse_file(folder: Path) -> None:
    if folder.exists():
        raise InputError(f"{folder}: expected a folder, found a file")


def main(arguments: Sequence[str] | None = None) -> int:
    """Lists or removes entries; exit code 2 and one line for bad input."""
    return run_command(lambda: _work(make_parser().parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
