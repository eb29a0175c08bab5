"""Command line of the leaderboard: `python -m leaderboard build | published | watch | noise | rescore`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tasks.system.command_line import OneLineParser, at_least, check_output_folder
from tasks.system.errors import named_files, run_command


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m leaderboard", description="Makes the leaderboard page.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="write index.html, records.csv and records.json")
    _add_folders(build)
    build.add_argument("--history", type=Path, metavar="FILE", help="search history (JSON) to show below the table")
    build.add_argument("--title", default="AutoDistill-Bench leaderboard", help="heading of the page")
    published = commands.add_parser("published", help="write the page of the records of `python -m baselines measure`")
    _add_folders(published)
    published.add_argument("--title", default="Published models on this machine", help="heading of the page")
    noise = commands.add_parser("noise", help="tell what scores of a track owe to chance, from runs under other seeds")
    noise.add_argument(
        "--track", default="micro-0.1", metavar="NAME", help="a track whose runs are published (default: micro-0.1)"
    )
    noise.add_argument(
        "--results", type=Path, action="extend", nargs="+", metavar="DIR", help="folders of runs to collect instead"
    )
    noise.add_argument("--out", type=Path, metavar="FILE", help="file for what was collected")
    rescore = commands.add_parser("rescore", help="compute scores and intervals of records again from their outcomes")
    _add_results(rescore)
    watch = commands.add_parser("watch", help="write the page of a run that is not finished, again when it gets on")
    watch.add_argument("run", type=Path, metavar="RUN", help="folder of the run (its --workdir)")
    watch.add_argument("--out", type=Path, metavar="DIR", help="folder to write to (default: RUN/watch)")
    watch.add_argument(
        "--every", type=at_least(1), default=5, metavar="SECONDS", help="time between looks at the run (default: 5)"
    )
    watch.add_argument("--once", action="store_true", help="write the page once, and end")
    return parser


def _add_folders(parser: argparse.ArgumentParser) -> None:
    _add_results(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results",
        type=Path,
        required=True,
        action="extend",
        nargs="+",
        metavar="DIR",
        help="folders with results/*.json, of one track; several, or the flag several times, share one page",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the command line; None takes that of the process.

    Returns:
        0 when the page is written, 2 for bad input, with one line on standard error.
    """
    return run_command(lambda: _run(_parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    commands = {"build": _build, "published": _published, "watch": _watch, "noise": _noise, "rescore": _rescore}
    return commands[options.command](options)


def _watch(options: argparse.Namespace) -> int:
    # Imported late, as below.
    from leaderboard import watch

    out = options.out if options.out is not None else options.run / watch.PAGE_FOLDER
    with named_files():
        watch.read_run(options.run)
        watch.check_out(options.run, out)
        check_output_folder("--out", out)
        watch.watch(options.run, out, lambda line: print(line, flush=True), every=options.every, once=options.once)
    return 0


def _noise(options: argparse.Namespace) -> int:
    # Imported late, as below.
    from leaderboard import repeated_runs, run_noise
    from leaderboard.load import load_records

    with named_files():
        if options.results:
            repeated = repeated_runs.collect([load_records(folder) for folder in options.results])
            if options.out:
                repeated_runs.write(options.out, repeated)
        else:
            repeated = repeated_runs.read(repeated_runs.FOLDER / f"{options.track}.json")
    print("\n".join(run_noise.report(repeated)))
    return 0


def _rescore(options: argparse.Namespace) -> int:
    # Imported late, as below.
    from leaderboard.load import load

    with named_files():
        loaded = load(*options.results, intervals=True)
    for record in loaded.records:
        tasks = loaded.pairs.get(record.id, {})
        missing = ", ".join(task.task for task in record.tasks if task.task not in tasks)
        note = f"; without outcomes: {missing}" if missing else ""
        print(f"{record.id}: scores and intervals of {len(tasks)} tasks follow from their outcomes{note}")
    return 0


def _published(options: argparse.Namespace) -> int:
    check_output_folder("--out", options.out)
    # Imported late, as below.
    from leaderboard.load import load_records
    from leaderboard.published import build_published

    with named_files():
        records = load_records(*options.results)
        page = build_published(records, options.out, title=options.title)
    print(f"{len(records)} published systems -> {page}")
    return 0


def _build(options: argparse.Namespace) -> int:
    check_output_folder("--out", options.out)
    # Imported late: `--help` and a mistyped flag answer without pydantic and Jinja2.
    from benchmark.records.history import read_history
    from leaderboard.build import build
    from leaderboard.load import load

    with named_files():
        loaded = load(*options.results)
        history = read_history(options.history) if options.history else None
        page = build(loaded.records, options.out, title=options.title, history=history, pairs=loaded.pairs)
    print(f"{len(loaded.records)} records -> {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
