"""Calibration of a chip's roofline: writes the chip's gin file, with figures that no data sheet has.

For a chip that libtpu compiles for, the cost of an operation and the bandwidth on the chip are fitted to the compiler's
estimates for some architectures of the gin file's search space. Any other chip is taken to be this machine's CPU: peak
and bandwidth of main memory are probed, the rest is fitted to the times of the architectures' serving programs here.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.cli.command_line import gin_parser, parse_flags
from benchmark.cli.gin_loader import load
from benchmark.config.run import NAME
from benchmark.hardware.roofline import estimate
from benchmark.latency import machine_state
from benchmark.process import setup
from benchmark.records import manifest
from tasks.system.atomic_write import write_text
from tasks.system.command_line import at_least, check_output_file, check_output_folder
from tasks.system.errors import InputError, StageError, run_command

if TYPE_CHECKING:
    from benchmark.config import ChipConfig, EncoderConfig, SearchConfig

TPU_FIGURES: tuple[str, ...] = ("op_overhead_s", "on_chip_bandwidth")
CPU_FIGURES: tuple[str, ...] = ("op_overhead_s", "on_chip_bandwidth", "vector_flops", "sustained_flops")
# Below this rank correlation a roofline is no help to a search; above this many cores of others a machine is not idle.
LEAST_TAU, MOST_OTHER_CORES = 0.8, 0.3
# Start value of a fit that does not follow from the chip's figures.
_OVERHEAD_S = 1e-6


def fit(
    chip: ChipConfig,
    batch_size: int,
    sequence_length: int,
    encoders: Sequence[EncoderConfig],
    latencies: Sequence[float],
    fields: Sequence[str],
) -> ChipConfig:
    """Fits figures of a chip so that its roofline approximates known latencies.

    Args:
        chip: the other figures.
        batch_size: sequences in a batch.
        sequence_length: tokens in a sequence.
        encoders: architectures.
        latencies: their latencies in seconds.
        fields: names of the figures to fit.

    Returns:
        The chip with the figures that minimize the mean absolute log ratio, which is robust to outliers.
    """
    from scipy.optimize import minimize

    wanted = np.log(latencies)

    def with_figures(logs: np.ndarray) -> ChipConfig:
        return dataclasses.replace(chip, **dict(zip(fields, np.exp(logs).tolist(), strict=True)))

    def loss(logs: np.ndarray) -> float:
        tried = with_figures(np.clip(logs, -40, 60))
        found = [estimate(e, tried, batch_size, sequence_length).latency_s for e in encoders]
        return float(np.mean(np.abs(np.log(found) - wanted)))

    guesses = {
        "op_overhead_s": _OVERHEAD_S,
        "on_chip_bandwidth": 2 * chip.memory_bandwidth,
        "vector_flops": chip.peak_flops / 50,
        "sustained_flops": chip.peak_flops / 2,
    }
    start = [math.log(guesses[name]) for name in fields]
    best = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 600, "xatol": 1e-3, "fatol": 1e-9})
    return with_figures(np.clip(best.x, -40, 60))


def agreement(estimated: Sequence[float], known: Sequence[float]) -> dict[str, float]:
    """Computes Kendall's tau-b, and mean and largest relative error, of estimates against known latencies."""
    from scipy.stats import kendalltau

    ratios = np.abs(np.divide(estimated, known) - 1)
    tau = float(kendalltau(estimated, known).statistic)
    return {"tau": tau, "mean_error": float(ratios.mean()), "largest_error": float(ratios.max())}


def gin_file(chip: ChipConfig, comments: Sequence[str]) -> str:
    """Writes the gin file of a chip: all figures that it has, four digits each.

    Args:
        chip: the chip; its name is the scope of the lines.
        comments: lines for the head of the file.
    """
    lines = [f"# {comment}" for comment in comments]
    for field in dataclasses.fields(chip):
        value = getattr(chip, field.name)
        if field.name == "name" or value != field.default:
            shown = f"{value:.4g}" if isinstance(value, float) else repr(value)
            lines.append(f"{chip.name}/ChipConfig.{field.name} = {shown}")
    return "\n".join(lines) + "\n"


def doubts(found: Mapping[str, float], other_cores: float | None) -> Iterator[str]:
    """Yields reasons not to trust a calibration.

    Args:
        found: as of `agreement`.
        other_cores: cores that other processes took meanwhile; None where it does not matter or is not known.
    """
    if not found["tau"] >= LEAST_TAU:
        yield (
            f"the fitted roofline orders the architectures otherwise than they were measured: tau {found['tau']:.2f},"
            f" expected at least {LEAST_TAU}; more --architectures, or an idle machine"
        )
    if other_cores is not None and other_cores > MOST_OTHER_CORES:
        yield f"other processes took {other_cores:.1f} cores meanwhile; expected an idle machine"


def draw_architectures(config: SearchConfig, count: int, seed: int) -> list[EncoderConfig]:
    """Draws architectures of the search space without repeats."""
    from benchmark.search.space import decode, enumerate_points

    points = enumerate_points(config.space)
    order = np.random.default_rng(seed).permutation(len(points))[:count]
    return [decode(config.space, points[i]) for i in order]


def best_seconds(run: Callable[[], object], seconds: float = 0.5) -> float:
    """Times the shortest of at least ten calls, over the given time: other work of the machine can only add to it."""
    best, calls, started = math.inf, 0, time.perf_counter()
    while calls < 10 or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - before)
        calls += 1
    return best


def host_figures(chip: ChipConfig) -> ChipConfig:
    """Probes peak of a float32 matrix product, bandwidth of main memory and size of the last cache of this machine."""
    setup.expect_no_tpu()
    import jax
    import jax.numpy as jnp

    size, values = 1536, 2**26
    square = jnp.ones((size, size), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    long = jnp.ones(values, jnp.float32)
    total = jax.jit(jnp.sum)
    peak = 2.0 * size**3 / best_seconds(lambda: product(square).block_until_ready(), 2.0)
    bandwidth = 4 * values / best_seconds(lambda: total(long).block_until_ready(), 2.0)
    return dataclasses.replace(chip, peak_flops=peak, memory_bandwidth=bandwidth, on_chip_bytes=float(last_cache()))


def last_cache(folder: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int:
    """Reads the bytes of the largest cache of the first core; 0 where the system does not say."""
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    sizes = [path.read_text().strip() for path in folder.glob("index*/size")]
    return max((int(text[:-1]) * units[text[-1]] for text in sizes if text[-1:] in units), default=0)


def host_seconds(encoder: EncoderConfig, batch_size: int, sequence_length: int) -> float:
    """Times the shortest call of an encoder's serving program on this machine, after a few that do not count."""
    import jax

    from benchmark.latency.runtimes import random_params
    from benchmark.models.inference import compile_encoder

    shape = (batch_size, sequence_length)
    serve = compile_encoder(encoder, random_params(encoder), *shape)
    ids = np.random.default_rng(0).integers(0, encoder.vocab_size, shape, dtype=np.int32)
    inputs = jax.device_put((ids, np.ones(shape, np.int32), np.zeros(shape, np.int32)))
    for _ in range(10):
        serve(*inputs).block_until_ready()
    return best_seconds(lambda: serve(*inputs).block_until_ready())


def calibrate(
    config: SearchConfig, count: int, cache: Path | None, progress: Callable[[str], None]
) -> tuple[ChipConfig, tuple[str, ...], dict[str, float]]:
    """Fits figures of a search's chip to `count` architectures of its space.

    Returns:
        The chip, the names of its new figures, and the agreement of the roofline with the latencies it was fitted to.

    Raises:
        StageError: the chip's compiler is not available, or refuses an architecture.
    """
    from benchmark.hardware.estimates import Estimate, known_latency

    shape = (config.batch_size, config.sequence_length)
    encoders = draw_architectures(config, count, seed=0)
    if config.chip.topology:
        only = dataclasses.replace(config, latency_methods=("compiled",))
        answers = known_latency(only, cache, progress).exact(encoders)
        if failed := [one.reason for one in answers if not isinstance(one, Estimate)]:
            raise StageError(failed[0])
        known = [one.latency_s for one in answers if isinstance(one, Estimate)]
        chip, fields = config.chip, TPU_FIGURES
        new = fields
    else:
        chip, fields = host_figures(config.chip), CPU_FIGURES
        new = ("peak_flops", "memory_bandwidth", "on_chip_bytes", *fields)
        known = []
        for number, encoder in enumerate(encoders, 1):
            known.append(host_seconds(encoder, *shape))
            progress(f"{number} of {len(encoders)} architectures")
    chip = fit(chip, *shape, encoders, known, fields)
    return chip, new, agreement([estimate(e, chip, *shape).latency_s for e in encoders], known)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes a chip's gin file; one line and exit code 2 for bad input, 1 where calibration fails."""
    parser = gin_parser("python -m benchmark.commands.calibrate_chip", __doc__ or "", "")
    parser.add_argument("--architectures", type=at_least(2), default=40, help="how many are drawn from the space")
    parser.add_argument("--cache", type=Path, help="folder for compiled figures")
    parser.add_argument("--name", help="name of the chip in the file (default: that of the search's chip)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="gin file to write (default: print it)")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command = shlex.join(["python", "-m", "benchmark.commands.calibrate_chip", *arguments])
    return run_command(lambda: _calibrate(*parse_flags(parser, arguments), command))


def _calibrate(options: argparse.Namespace, bindings: list[str], command: str) -> int:
    check_output_folder("--cache", options.cache)
    check_output_file("--out", options.out)
    if options.name is not None and not re.fullmatch(NAME, options.name):
        raise InputError(f"--name={options.name}: expected a name of the form {NAME}")
    config = load(options.gin_file, bindings, options.gin_search_paths).config.required_search()
    watch = machine_state.Watch()
    chip, fields, found = calibrate(
        config, options.architectures, options.cache, lambda line: print(line, file=sys.stderr, flush=True)
    )
    for line in doubts(found, None if chip.topology else watch.others().cores):
        print(f"warning: {line}", file=sys.stderr)
    chip = dataclasses.replace(chip, name=options.name or chip.name)
    device = manifest.device_info()
    where = "" if chip.topology else f" on {device.get('cpu_model', 'a CPU')}, {device.get('cpu_usable', '?')} cores"
    text = gin_file(
        chip,
        [
            f"Found{where} by",
            f"  {command}",
            f"{', '.join(fields)}: probed or fitted; {options.architectures} architectures,"
            f" {', '.join(f'{name} {value:.3f}' for name, value in found.items())} (docs/hardware.md).",
        ],
    )
    if options.out is None:
        print(text, end="")
        return 0
    write_text(options.out, text)
    print(f"{options.out}: use it with --gin_file={options.out} --gin.SearchConfig.chip='@{chip.name}/ChipConfig()'")
    return 0


if __name__ == "__main__":
    sys.exit(main())
