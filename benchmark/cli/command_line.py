"""Common parts of the command lines that read gin files: flags and bindings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tasks.system.command_line import OneLineParser


def gin_parser(prog: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """Makes a parser with the flags of settings; `parse_flags` takes `--gin.NAME=VALUE` out first."""
    parser = OneLineParser(
        prog=prog,
        usage="%(prog)s --gin_file=FILE [--gin_file=FILE ...] [--gin.NAME=VALUE ...] [flags]",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--gin_file", action="append", default=[], metavar="FILE", help="gin file; may be repeated, later ones win")
    # Never parsed here; it stands for the help text.
    add("--gin.NAME", action="append", metavar="VALUE", help="set a macro or Class.field after all gin files", dest="_")
    add(
        "--gin_search_paths",
        action="append",
        default=[],
        metavar="DIR[,DIR]",
        help="further folders in which gin files and what they include are looked for",
    )
    return parser


def parse_flags(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Splits a command line into flags and gin bindings.

    Args:
        parser: made by `gin_parser`.
        arguments: the command line without the program.

    Returns:
        The flags, with `gin_search_paths` as a list of folders, and the bindings as `NAME=VALUE`.

    Raises:
        InputError: a flag does not exist or lacks its value.
    """
    bindings = [w.removeprefix("--gin.") for w in arguments if w.startswith("--gin.")]
    flags = parser.parse_args([w for w in arguments if not w.startswith("--gin.")])
    flags.gin_search_paths = [path for value in flags.gin_search_paths for path in value.split(",") if path]
    return flags, bindings
