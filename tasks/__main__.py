"""Command line of the tasks: `python -m tasks list | describe NAME | verify-data DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tasks.catalogue import get_task
from tasks.pretraining import PRETRAINING_TASKS
from tasks.system.command_line import OneLineParser
from tasks.system.errors import named_files, run_command


def _list() -> int:
    from tasks.describe.task import list_tasks

    print(list_tasks())
    return 0


def _describe(name: str, directory: Path | None) -> int:
    if name in PRETRAINING_TASKS:
        from tasks.describe.pretraining import describe_pretraining

        print(describe_pretraining(PRETRAINING_TASKS[name]))
        return 0
    info = get_task(name)
    from tasks.describe.task import describe

    print(describe(info, directory))
    return 0


def _verify(directory: Path) -> int:
    from tasks.files import verify

    checks = verify.check_directory(directory)
    print(verify.table(checks))
    return 1 if any(check.level == "error" for check in checks) else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the command line after `python -m tasks`.

    Returns:
        The exit code: 0, 1 where `verify-data` found a wrong file, 2 for bad input.
    """
    parser = OneLineParser(prog="python -m tasks", description="The tasks of the benchmark.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print every task")
    describe = commands.add_parser("describe", help="print one task with an example before and after preprocessing")
    describe.add_argument("name")
    describe.add_argument(
        "--data", type=Path, metavar="DIR", help="take the example from the files there, not the embedded data"
    )
    verify = commands.add_parser("verify-data", help="compare the files in a folder with sizes and digests")
    verify.add_argument("directory", type=Path)
    return run_command(lambda: _run(parser.parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    with named_files():
        if options.command == "list":
            return _list()
        if options.command == "describe":
            return _describe(options.name, options.data)
        return _verify(options.directory)


if __name__ == "__main__":
    sys.exit(main())
