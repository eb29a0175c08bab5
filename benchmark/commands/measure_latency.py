"""Command line of latency measurements: `python -m benchmark.commands.measure_latency --gin_file=FILE`.

Measures one architecture of a track on this machine and prints a line for each cell of the grid.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.cli.command_line import gin_parser, parse_flags
from tasks.system.command_line import check_output_file, check_output_folder
from tasks.system.errors import InputError, named_files, nearest_match_hint, run_command

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig, RunConfig
    from benchmark.latency.results import Results

_EXAMPLES = """\
examples:
  python -m benchmark.commands.measure_latency --gin_file=gin/tracks/micro.gin --system=mobilebert
  python -m benchmark.commands.measure_latency --gin_file=gin/quickstart.gin --workdir=runs/quickstart --system=tinybert

Exit codes: 0 measured, 1 refused or failed, 2 bad input; one line on standard error.
"""


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the flags; `--gin.NAME=VALUE` is removed from the command line before."""
    parser = gin_parser(
        "python -m benchmark.commands.measure_latency",
        "Measures the latency of one architecture of a track on this machine (docs/latency.md).",
        _EXAMPLES,
    )
    add = parser.add_argument
    add("--system", metavar="NAME", help="baseline, teacher, or found student of --workdir (default: first baseline)")
    add("--workdir", type=Path, metavar="DIR", help="folder of a run, whose data are the inputs")
    add("--text", type=Path, metavar="FILE", help="text file whose lines are the inputs (default: the embedded data)")
    add(
        "--vocabulary",
        type=Path,
        metavar="PATH",
        help="vocab.txt or tokenizer folder for --text (default: one is trained)",
    )
    add("--keep", type=Path, metavar="DIR", help="folder for samples; an interrupted measurement resumes from it")
    add("--out", type=Path, metavar="FILE", help="write the latency blocks of a record, as JSON")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns the exit code.

    Args:
        arguments: the words after the program's name; None takes those of the process.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(lambda: _measure(*parse_flags(make_parser(), arguments)))


def _measure(flags: argparse.Namespace, bindings: list[str]) -> int:
    from benchmark.cli.gin_loader import load_run_config
    from benchmark.process import setup

    setup.expect_no_tpu()
    config = load_run_config(flags.gin_file, bindings, flags.gin_search_paths)
    if flags.text and flags.workdir:
        raise InputError("--text and --workdir: expected one of them, as both say what the inputs are")
    if flags.vocabulary and not flags.text:
        raise InputError("--vocabulary: expected together with --text")
    check_output_file("--out", flags.out)
    check_output_folder("--keep", flags.keep)
    with named_files():
        name, encoder = choose_system(config, flags.system, flags.workdir)

    from benchmark.latency import inputs
    from benchmark.latency.measure import measure
    from benchmark.latency.results import blocks
    from benchmark.latency.timing import LatencyError
    from tasks.system.atomic_write import write_text

    latency = config.latency
    with tempfile.TemporaryDirectory(prefix="latency-") as temporary:
        folder = flags.keep or Path(temporary)
        rows = None
        if flags.workdir:
            try:
                rows = inputs.rows_of_data(flags.workdir / "data", latency.sequence_lengths, latency.seed)
            except LatencyError as error:
                raise InputError(str(error)) from None
        elif flags.text:
            size = min(encoder.vocab_size, latency.reference.vocab_size)
            lengths = latency.sequence_lengths
            rows = inputs.rows_of_text(flags.text, flags.vocabulary, size, lengths, latency.seed, folder)
        results = measure({name: encoder}, latency, _print_progress, rows=rows, folder=folder)
        for line in table(results, name, config):
            print(line)
        for line in estimates(config, encoder):
            print(line)
        if flags.out:
            found = [block.model_dump(mode="json") for block in blocks(results, name, latency)]
            with named_files():
                write_text(flags.out, json.dumps(found, indent=1, allow_nan=False) + "\n")
    return 0


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def choose_system(config: RunConfig, wanted: str | None, workdir: Path | None) -> tuple[str, EncoderConfig]:
    """Chooses the architecture to measure.

    Args:
        config: the track.
        wanted: a name; None for the first baseline, or the teacher where there is none.
        workdir: a run, for the names of found students.

    Raises:
        InputError: no architecture has this name, or the marker of the run's search is damaged.
    """
    from benchmark.config import ConfigError, encoder_from_dict
    from benchmark.pipeline.workdir import RunError, read_json

    known = {baseline.name: baseline.architecture for baseline in config.baselines}
    known |= {"teacher": config.teacher.architecture} if config.teacher is not None else {}
    found = workdir / "search" / "stage.json" if workdir else None
    if found is not None and found.is_file():
        marker = read_json(found)
        try:
            known |= {name: encoder_from_dict(fields) for name, fields in marker["result"]["found"].items()}
        except (AttributeError, KeyError, TypeError, ConfigError) as error:
            raise RunError(f"{found}: damaged ({error!r}); remove it and continue the run") from None
    name = next(iter(known)) if wanted is None else wanted
    if name not in known:
        raise InputError(f"--system={name}: {nearest_match_hint(name, list(known))}")
    return name, known[name]


def table(results: Results, name: str, config: RunConfig) -> Iterator[str]:
    """Yields a line for each cell: median and bounds, speed-up with its interval, noise floor, warm-up, energy."""
    from benchmark.latency.results import PROCESSES, blocks

    latency = config.latency
    made = blocks(results, name, latency)
    count = max((int(block.details["processes"] or 0) for block in made), default=latency.processes)
    few = f" (the protocol asks for {PROCESSES})" if count < PROCESSES else ""
    yield f"{name} against {latency.reference_name}, {count} process{'' if count == 1 else 'es'}{few}, times in ms"
    heads = (
        "runtime",
        "batch",
        "length",
        "median",
        "p50",
        "p90",
        "p99",
        "speed-up",
        "95 % interval",
        "noise",
        "warm-up",
    )
    rows = [[*heads, "energy"]]
    for block in made:
        assert block.speedup_interval is not None and block.noise_floor is not None
        bounds = [f"{1e3 * value:.3f}" if value else "n/a" for value in block.percentiles_s.values()]
        low, high = block.speedup_interval
        energy = "no counter" if block.joules is None else f"{1e3 * block.joules:.3g} mJ"
        warm = f"{block.details['warmup_calls']} calls" + ("" if block.details["warmup_settled"] else ", not settled")
        shape = [str(block.runtime), str(block.batch_size), str(block.sequence_length)]
        speed = [f"{block.speedup:.3f}", f"{low:.3f} to {high:.3f}", f"{100 * block.noise_floor:.1f} %"]
        rows.append([*shape, f"{1e3 * block.latency_s:.3f}", *bounds, *speed, warm, energy])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    for cell in results.cells:
        if reason := results.refused(cell, latency):
            yield f"{cell}: n/a: {reason}"
    for what, reason in results.absent.items():
        yield f"{what}: n/a: {reason}"


def estimates(config: RunConfig, encoder: EncoderConfig) -> Iterator[str]:
    """Yields lines of estimates for the search's chip, which are never part of the table of measurements."""
    from benchmark.hardware.estimates import ONLY_A_RANK, LatencyFailure, known_latency

    search = config.required_search()
    if search.measures_latency:
        return
    latency = known_latency(search, None, _print_progress)
    found = (
        [latency.quick(encoder)]
        if latency.method == "roofline"
        else [*latency.exact([encoder]), latency.quick(encoder)]
    )
    shape = f"{search.chip.name}, batch {search.batch_size}, length {search.sequence_length}"
    for one in found:
        if isinstance(one, LatencyFailure):
            yield f"{latency.method}, {shape}: n/a: {one.reason}"
        else:
            rank = " (a rank, not a time)" if one.details.get(ONLY_A_RANK) else ""
            yield f"{one.method}, {shape}: {1e3 * one.latency_s:.3f} ms{rank}"


if __name__ == "__main__":
    sys.exit(main())
