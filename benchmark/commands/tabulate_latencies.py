"""Latencies of a whole search space as a CSV file: `python -m benchmark.commands.tabulate_latencies --help`."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.cli.command_line import gin_parser, parse_flags
from benchmark.cli.gin_loader import load
from tasks.system.command_line import check_output_file, check_output_folder
from tasks.system.errors import StageError, named_files, run_command

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig, SearchConfig

# Architectures that are estimated together, between two lines of progress.
_AT_ONCE = 8


def table(
    config: SearchConfig, encoders: Sequence[EncoderConfig], cache: Path | None, progress: Callable[[str], None]
) -> str:
    """Estimates latencies of architectures by the first method of the search, as CSV text.

    Args:
        config: chip, methods, batch size and length.
        encoders: a row for each.
        cache: folder of compiled figures; an interrupted table resumes from it.
        progress: receives lines of progress.

    Returns:
        Fields of the search space, parameters, method, seconds, and for `compiled` cycles.

    Raises:
        StageError: no method is available, or one architecture has no latency.
    """
    from benchmark.hardware.estimates import LatencyFailure, known_latency
    from benchmark.models.formulas import num_parameters

    latency = known_latency(config, cache, progress)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    fields = config.space.FIELDS
    writer.writerow([*fields, "parameters", "method", "cycles", "waiting_cycles", "latency_s"])
    for start in range(0, len(encoders), _AT_ONCE):
        group = encoders[start : start + _AT_ONCE]
        for encoder, found in zip(group, latency.exact(group), strict=True):
            values = [getattr(encoder, name) for name in fields]
            if isinstance(found, LatencyFailure):
                shown = ", ".join(f"{name}={value}" for name, value in zip(fields, values, strict=True))
                raise StageError(f"{shown}: {found.reason}")
            cycles = [found.details.get(name, "") for name in ("cycles", "waiting_cycles")]
            writer.writerow([*values, num_parameters(encoder), found.method, *cycles, f"{found.latency_s:.9g}"])
        progress(f"{start + len(group)} of {len(encoders)} architectures")
    return text.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the table of a gin file's search space; exit code 2 and one line for bad input, 1 for no latency."""
    parser = gin_parser("python -m benchmark.commands.tabulate_latencies", __doc__ or "", "")
    parser.add_argument("--out", required=True, type=Path, help="the CSV file")
    parser.add_argument("--cache", type=Path, help="folder for compiled figures; an interrupted table resumes from it")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(lambda: _tabulate(*parse_flags(parser, arguments)))


def _tabulate(options: argparse.Namespace, bindings: list[str]) -> int:
    check_output_file("--out", options.out)
    check_output_folder("--cache", options.cache)
    config = load(options.gin_file, bindings, options.gin_search_paths).config.required_search()
    from benchmark.search.space import decode, enumerate_points
    from tasks.system.atomic_write import write_text

    encoders = [decode(config.space, point) for point in enumerate_points(config.space)]
    text = table(config, encoders, options.cache, lambda line: print(line, flush=True))
    with named_files():
        write_text(options.out, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
