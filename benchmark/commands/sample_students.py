"""Settings that distil a sample of a search space both briefly and in full, as a gin file.

`python -m benchmark.commands.sample_students --gin_file=gin/quickstart.gin --out=runs/students.gin` draws 24, which
`python run_benchmark.py --gin_file=gin/quickstart.gin --gin_file=runs/students.gin --workdir=runs/students` makes the
trials of the search and the baselines of the run. `benchmark.commands.compare_rankings` compares the scores of their
flash distillations with those of the full ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.cli.command_line import gin_parser, parse_flags
from benchmark.cli.gin_loader import load
from tasks.system.command_line import at_least, check_output_file
from tasks.system.errors import InputError, named_files, run_command

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig, SearchSpace


def sample(space: SearchSpace, count: int, seed: int) -> list[EncoderConfig]:
    """Draws architectures of a space without replacement, each as likely as any other.

    Raises:
        InputError: the space has fewer.
    """
    import numpy as np

    from benchmark.search.space import decode, enumerate_points

    points = enumerate_points(space)
    if count > len(points):
        raise InputError(f"--count = {count}: the search space has {len(points)} architectures")
    chosen = np.random.default_rng(seed).choice(len(points), count, replace=False)
    return [decode(space, points[place]) for place in chosen]


def settings(encoders: Sequence[EncoderConfig]) -> str:
    """Writes the gin statements that make architectures the trials and the baselines of a run."""
    names = [f"student_{number:02d}" for number in range(len(encoders))]
    lines = [
        f"SearchConfig.num_trials = {len(encoders)}",
        "SearchConfig.algorithm = 'random'",
        "SearchConfig.num_found = 1",
        "SearchConfig.rungs = ()",
        "SearchConfig.plateau_trials = 0",
        "RunConfig.untrained_control = ''",
        f"SearchConfig.attach = ({', '.join(f'@{name}/EncoderConfig()' for name in names)},)",
        f"RunConfig.baselines = ({', '.join(f'@{name}/BaselineConfig()' for name in names)},)",
    ]
    for name, encoder in zip(names, encoders, strict=True):
        # A system's name is part of file names, a scope is an identifier.
        lines += [f"{name}/BaselineConfig.name = {name.replace('_', '-')!r}"]
        lines += [f"{name}/BaselineConfig.title = {name.replace('_', ' ').capitalize()!r}"]
        lines += [f"{name}/BaselineConfig.encoder = @{name}/EncoderConfig()"]
        # All fields: those that are not named could be those of the track.
        lines += [f"{name}/EncoderConfig.{field} = {value!r}" for field, value in vars(encoder).items()]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the gin file; exit code 2 and one line for bad input."""
    parser = gin_parser("python -m benchmark.commands.sample_students", __doc__ or "", "")
    parser.add_argument("--count", type=at_least(2), default=24, help="number of architectures (default: 24)")
    parser.add_argument("--seed", type=at_least(0), default=0, help="seed of the sample (default: 0)")
    parser.add_argument("--out", required=True, type=Path, help="the gin file")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(lambda: _write(*parse_flags(parser, arguments)))


def _write(options: argparse.Namespace, bindings: list[str]) -> int:
    check_output_file("--out", options.out)
    config = load(options.gin_file, bindings, options.gin_search_paths).config.required_search()
    from tasks.system.atomic_write import write_text

    encoders = sample(config.space, options.count, options.seed)
    with named_files():
        write_text(options.out, settings(encoders))
    print(f"{options.out}: {len(encoders)} students")
    return 0


if __name__ == "__main__":
    sys.exit(main())
