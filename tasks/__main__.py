"""Command line of the tasks: `python -m tasks list | describe NAME | materialize ... | verify-data DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tasks.catalogue import METRICS, TASKS, get_task
from tasks.errors import DataError


def _list() -> int:
    width = max(map(len, TASKS))
    for info in TASKS.values():
        print(f"{info.name:{width}}  {info.title:10}  {info.kind:14}  {', '.join(info.metrics)}")
    return 0


def _describe(name: str) -> int:
    info = get_task(name)
    print(f"{info.name}: {info.title} ({info.kind}; {info.citation})")
    print(f"  files: {', '.join(f'{info.directory}/{stem}{info.extension}' for stem in info.split_stems.values())}")
    print(f"  inputs: {', '.join(info.text_columns)}")
    labels = ", ".join(info.label_names) or (
        f"{info.label_range[0]:g} to {info.label_range[1]:g}" if info.label_range else ""
    )
    if labels:
        print(f"  labels: {labels}")
    for metric in info.metrics:
        print(f"  metric: {metric}: {METRICS[metric].description}")
    print(f"  examples: {', '.join(f'{split} {size:,}' for split, size in info.split_sizes.items())}")
    print(f"  averages: {', '.join(info.in_averages) or 'none'}")
    return 0


def _materialize(gin_files: Sequence[str], bindings: Sequence[str], output: str) -> int:
    # Only this command needs the layer above; importing it here keeps `tasks` free of it.
    from benchmark.gin_loader import load_run_config
    from tasks.materialize import run_in_child

    config = load_run_config(gin_files, bindings)
    run_in_child(config.data.request(), Path(output), progress=print)
    return 0


def _verify(directory: str) -> int:
    from tasks import readers

    root = Path(directory)
    if not root.is_dir():
        raise DataError(f"{root} is no folder; the folder that holds glue/ and squad/ is expected")
    good = True
    for info in TASKS.values():
        for split, official in info.split_sizes.items():
            path = readers.task_file(info, root, split)
            if path is None:
                print(f"{info.name} {split}: no file")
                continue
            try:
                count = sum(1 for _ in readers.read_examples(info, root, split))
            except DataError as error:
                print(f"{info.name} {split}: {error}")
                good = False
                continue
            right = abs(count - official) <= info.size_tolerance
            print(f"{info.name} {split}: {count:,} examples{'' if right else f', {official:,} are official'}")
            good = good and right
    return 0 if good else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
      arguments: the words after `python -m tasks`.

    Returns:
      the exit code: 0, 1 where `verify-data` found a difference, 2 for bad input.
    """
    parser = argparse.ArgumentParser(prog="python -m tasks", description="The tasks of the benchmark.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print every task")
    describe = commands.add_parser("describe", help="print one task")
    describe.add_argument("name")
    materialize = commands.add_parser("materialize", help="turn the data of a gin file into token arrays")
    materialize.add_argument("--gin_file", action="append", required=True, help="may be given several times")
    materialize.add_argument("--gin", action="append", default=[], metavar="NAME=VALUE", help="binding")
    materialize.add_argument("--to", required=True, metavar="DIR", help="the folder for the arrays")
    verify = commands.add_parser("verify-data", help="compare the files in a folder with the official sizes")
    verify.add_argument("directory")
    options = parser.parse_args(arguments)
    try:
        if options.command == "list":
            return _list()
        if options.command == "describe":
            return _describe(options.name)
        if options.command == "materialize":
            return _materialize(options.gin_file, options.gin, options.to)
        return _verify(options.directory)
    # Configuration errors of the layer above are ValueErrors as well.
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
