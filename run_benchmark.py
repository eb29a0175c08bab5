"""The command line of AutoDistill-Bench: flags -> configuration -> pipeline -> leaderboard page -> exit code."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.cli.command_line import gin_parser, parse_flags
from benchmark.config import STAGES
from benchmark.process import numerics
from tasks.system.cache_folder import add_flags
from tasks.system.errors import InputError, named_files, nearest, run_command

if TYPE_CHECKING:
    from benchmark.config import RunConfig
    from tasks.system.content_cache import ContentCache

EXAMPLES = """\
examples:
  python run_benchmark.py --gin_file=gin/quickstart.gin --workdir=runs/quickstart
  python run_benchmark.py --gin_file=gin/quickstart.gin --gin.RunConfig.seed=1 --workdir=runs/seed1
  python run_benchmark.py --gin_file=gin/quickstart.gin --dry_run

Running a record again and comparing, field by field:
  python run_benchmark.py --verify=runs/quickstart/results/mobilebert.json

Running the same command again continues where it stopped. Exit codes: 0 every stage ended well, 1 a stage failed
or a verified record differs, 2 bad input (one line on standard error; the corrected command may use the same folder),
130 interrupted.
"""


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the flags; `parse_flags` takes `--gin.NAME=VALUE` out of the command line first."""
    parser = gin_parser(
        "python run_benchmark.py",
        "Runs one track: data, teacher, search, distillation, fine-tuning, latency, records, page.",
        EXAMPLES,
    )
    add = parser.add_argument
    add("--workdir", type=Path, metavar="DIR", help="folder of the run (default: runs/<track>)")
    stages = f"comma-separated, any of {', '.join(STAGES)} (default: all)"
    add("--stages", default=",".join(STAGES), metavar="LIST", help=stages)
    add("--distributed", action="store_true", help="join the other processes of this run (docs/distributed.md)")
    add("--verify", type=Path, metavar="RECORD", help="run a record again from itself alone, and compare")
    add("--verify_search", action="store_true", help="with --verify: run the search of a found system again too")
    add_flags(parser)
    add("--dry_run", action="store_true", help="print settings, files, shapes and a forecast of time and memory")
    return parser


def parse_stages(text: str) -> tuple[str, ...]:
    """Reads the value of `--stages`; the result is in the order of the pipeline.

    Raises:
        InputError: a name is not a stage, or there is no name at all.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in STAGES:
            raise InputError(f"--stages: unknown stage {name!r}{nearest(name, STAGES)}; accepted: {', '.join(STAGES)}")
    if not names:
        raise InputError(f"--stages: expected at least one of {', '.join(STAGES)}")
    return tuple(stage for stage in STAGES if stage in names)


def choose_workdir(given: Path | None, config: RunConfig, *, writes: bool = True) -> Path:
    """Chooses the folder of the run: the given one, or `runs/<track>`.

    Args:
        given: the value of `--workdir`.
        config: names the track.
        writes: whether this command will write there.

    Raises:
        InputError: the path, or one above it, is a file, or nothing can be written there.
    """
    workdir = given or Path("runs") / config.track
    paths = (workdir, *workdir.parents)
    try:
        nearest_there = next(path for path in paths if path.exists())
        # A name that is too long shows only in a folder that exists.
        for path in paths[: paths.index(nearest_there)]:
            (nearest_there / path.name).exists()
    except OSError as error:
        raise InputError(f"--workdir={workdir}: cannot be written: {error.strerror}; choose another folder") from None
    if not nearest_there.is_dir():
        raise InputError(f"--workdir={workdir}: {nearest_there} is not a folder")
    if not os.access(nearest_there, os.X_OK | (os.W_OK if writes else 0)):
        raise InputError(
            f"--workdir={workdir}: cannot be written: no permission in {nearest_there}; choose another folder"
        )
    return workdir


def publish(config: RunConfig, workdir: Path) -> None:
    """Builds the leaderboard page of a run from its records and its search history, and prints its path.

    Raises:
        RecordError: the records or the history cannot be shown.
        InputError: the page cannot be written.
    """
    from benchmark.records.history import read_history
    from leaderboard.build import build
    from leaderboard.load import load

    history, site = workdir / "search" / "history.json", workdir / "site"
    if site.exists() and not site.is_dir():
        raise InputError(f"{site}: not a folder; the page is written there: remove it, or choose another --workdir")
    if not (workdir / "results").is_dir():
        raise InputError(f"{workdir / 'results'}: missing; run the stage 'record' first (--stages)")
    title = f"AutoDistill-Bench, track {config.track} {config.track_version}"
    loaded = load(workdir / "results")
    found = read_history(history) if history.exists() else None
    with named_files():
        page = build(loaded.records, site, title=title, history=found, pairs=loaded.pairs)
    print(f"page: {page}")


def execute(
    config: RunConfig,
    workdir: Path,
    stages: tuple[str, ...],
    gin_text: str,
    command: str,
    cache: ContentCache | None = None,
) -> int:
    """Runs the stages; their packages are imported only here.

    Returns:
        The exit code.
    """
    # Publishing alone reads records and needs none of the numerical packages.
    if stages == ("publish",):
        publish(config, workdir)
        return 0
    prepare_process(config, workdir)
    from benchmark.pipeline import runner
    from benchmark.pipeline.run_context import Run
    from benchmark.process import setup

    setup.collect_less_often()
    if {"teacher", "search", "distill", "finetune"} & set(stages):
        from benchmark.training.partitioning import make_mesh

        # Too many devices are refused before the data are made.
        make_mesh(config.trainer.mesh)
    run = Run(config, workdir, gin_text=gin_text, command=command, cache=cache)
    return runner.run(run, stages, publish=publish)


def join_processes(stages: tuple[str, ...]) -> tuple[str, ...]:
    """Joins the other processes of a distributed run.

    Returns:
        The stages of this process; process 0 alone builds the page.

    Raises:
        InputError: the environment does not say which processes belong to the run.
    """
    from benchmark.training import distributed

    distributed.join()
    return stages if distributed.is_leader() else tuple(stage for stage in stages if stage != "publish")


def verify_record(flags: argparse.Namespace, bindings: Sequence[str], command: str) -> int:
    """Runs a record again, prints the comparison, and writes it next to the record.

    Returns:
        The exit code: 1 where a field differs.

    Raises:
        InputError: a flag that a verification does not take, or an unusable record or folder.
    """
    if flags.gin_file or bindings or flags.gin_search_paths or flags.dry_run or flags.distributed:
        raise InputError("--verify: the settings are those of the record; accepted with it: --workdir, --verify_search")
    if flags.cache_dir is not None:
        raise InputError("--verify: --cache_dir: a verification computes everything again, and uses no cache")
    if flags.stages != ",".join(STAGES):
        raise InputError("--verify: --stages: the record says which stages it needs")
    from benchmark.pipeline import verify_request
    from benchmark.records import verification

    request = verify_request.read_request(flags.verify, flags.verify_search)
    workdir = choose_workdir(flags.workdir or Path("runs") / "verify" / request.record.id, request.config)
    enforce_record_numerics(request.config)
    request = dataclasses.replace(request, config=with_checkpoints(request.config))
    prepare_process(request.config, workdir)
    from benchmark.pipeline import verify

    found = verify.verify(request, workdir, command)
    print("\n".join(verification.table(found.fields)))
    path = verification.verification_path(flags.verify)
    try:
        verification.write(path, found)
    except OSError:
        path = workdir / path.name
        verification.write(path, found)
    print(f"verification: {verification.verdict(found.fields)}; in {found.seconds:.0f} s; {path}")
    return int(found.outcome == verification.DIFFERENT)


def with_checkpoints(config: RunConfig) -> RunConfig:
    """Fills in what the checkpoints of a run say; numpy is imported for it, so the numerics must be in force.

    Raises:
        InputError: a checkpoint is missing or damaged, or does not go together with the run.
    """
    from benchmark.export.start import completed

    return completed(config)


def enforce_record_numerics(config: RunConfig) -> None:
    """Puts the numerics of a record into force; falls back to native ones where the processor lacks a feature."""
    if config.numerics == numerics.PORTABLE and (missing := numerics.missing_features()):
        print(f"numerics: native, as this processor has no {', '.join(missing)}; scores are compared with tolerances")
        numerics.enforce(numerics.NATIVE, config.reduction_threads)
    else:
        numerics.enforce(config.numerics, config.reduction_threads)


def prepare_process(config: RunConfig, workdir: Path) -> None:
    """Sets up compilation cache and memory of a process that trains, before its first import of jax."""
    from benchmark.process import setup

    setup.keep_programs(workdir / "compiled")
    setup.expect_no_tpu()
    if config.trainer.keep_freed_memory:
        setup.keep_freed_memory()


def run(arguments: list[str], command: str) -> int:
    """Runs one command line and returns the exit code."""
    flags, bindings = parse_flags(make_parser(), arguments)
    if flags.verify is not None:
        return verify_record(flags, bindings, command)
    if flags.verify_search:
        raise InputError("--verify_search: expected --verify=RECORD too")
    stages = parse_stages(flags.stages)
    from benchmark.cli.gin_loader import load

    config, gin_text = load(flags.gin_file, bindings, flags.gin_search_paths)
    known: list[str] = []
    # Publishing alone computes nothing, and reads no checkpoint.
    if stages != ("publish",):
        if not flags.dry_run:
            numerics.enforce(config.numerics, config.reduction_threads)
        config = with_checkpoints(config)
        if {"search", "distill", "latency"} & set(stages):
            from benchmark.pipeline.preflight import preflight

            known = preflight(config, stages, distributed=flags.distributed)
    workdir = choose_workdir(flags.workdir, config, writes=not flags.dry_run)
    # A run that has its arrays already no longer needs the files of the sources.
    if "data" in stages and not (workdir / "data" / "data.json").exists():
        config.data.check_files(may_be_elsewhere=flags.dry_run)
        # A dry run lists what is missing.
        if not flags.dry_run:
            from benchmark.pipeline.data_files import require_data_files

            require_data_files(config.data)
    if flags.dry_run:
        from benchmark.process import setup

        setup.expect_no_tpu()
        from benchmark.dry_run import report

        for line in report.report_lines(config, workdir, stages, gin_text):
            print(line, flush=True)
        for line in known:
            print(line)
        return 0
    cache = None
    # No other stage has results that are shared.
    if {"data", "teacher", "finetune"} & set(stages):
        from benchmark.pipeline.cache import open_cache

        cache = open_cache(flags.cache_dir, flags.cache_limit, lambda line: print(line, flush=True))
    if flags.distributed:
        stages = join_processes(stages)
    return execute(config, workdir, stages, gin_text, command, cache)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line.

    Args:
        arguments: the arguments after the program's name; None takes those of the process.

    Returns:
        The exit code; see `EXAMPLES`.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command = shlex.join(["python", "run_benchmark.py", *arguments])
    return run_command(lambda: run(arguments, command), f"interrupted; the same command continues: {command}")


if __name__ == "__main__":
    exit_code = main()
    if exit_code:
        from benchmark.training.distributed import leave

        leave(exit_code)
    sys.exit(exit_code)
