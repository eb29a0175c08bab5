"""Measured latency of encoders on this machine, against a frozen reference that is interleaved with each of them.

The parent starts fresh child processes one after the other. Each child compiles candidate and reference ahead of time,
warms both up until they no longer get faster, then times them in the order candidate, reference, reference, candidate
(ABBA), with a fresh input for every call. All samples are kept. In the same way the reference is timed against itself
(A/A), which gives the noise floor of the machine at that moment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.config import EncoderConfig, LatencyConfig, encoder_from_dict, to_dict
from benchmark.errors import StageError

# Raised whenever the same settings would time something else; samples of an older version are measured anew.
PROTOCOL_VERSION = 2

_ROOT = Path(__file__).resolve().parents[2]


class LatencyError(StageError):
    """A measurement that could not be made; the message is one line."""


@dataclass(frozen=True)
class Measurement:
    """Samples of one candidate and its interleaved reference, in nanoseconds, one list for each process."""

    samples_ns: list[list[int]]
    reference_samples_ns: list[list[int]]
    warmup_calls: int


def pair_ratios(candidate: Sequence[int], reference: Sequence[int]) -> np.ndarray:
    """Reference time over candidate time, pair by pair."""
    return np.asarray(reference, np.float64) / np.asarray(candidate, np.float64)


def speedup(measurement: Measurement) -> tuple[float, tuple[float, float]]:
    """Speed-up over the reference and its 95 % interval.

    The estimate is the geometric mean over processes of each process's median pair ratio; the interval is Student's t
    over the logarithms of those medians. With one process the interval spans the quartiles of its pair ratios instead.

    Returns:
        The estimate, and lower and upper end.
    """
    ratios = [pair_ratios(c, r) for c, r in zip(measurement.samples_ns, measurement.reference_samples_ns, strict=True)]
    logs = np.log([np.median(r) for r in ratios])
    center = float(logs.mean())
    if len(logs) == 1:
        low, high = np.log(np.quantile(ratios[0], [0.25, 0.75]))
    else:
        from scipy.stats import t

        half = float(t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs)))
        low, high = center - half, center + half
    return float(np.exp(center)), (float(np.exp(low)), float(np.exp(high)))


def noise_floor(measurement: Measurement) -> float:
    """Half-width of the central 95 % of log median ratios of the reference against itself, by bootstrap over pairs."""
    pairs = zip(measurement.samples_ns, measurement.reference_samples_ns, strict=True)
    # Sorted, so that the draws do not depend on the order of the processes.
    ratios = np.sort(np.log(np.concatenate([pair_ratios(c, r) for c, r in pairs])))
    draws = np.random.default_rng(0).choice(ratios, (500, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return float(max(abs(low), abs(high)))


def measure(
    candidates: dict[str, EncoderConfig], config: LatencyConfig, progress: Callable[[str], None]
) -> dict[str, Measurement]:
    """Measures candidates against the reference in `config.processes` fresh processes.

    Args:
        candidates: architectures by name; the key `""` is taken by the A/A run of the reference against itself.
        config: reference, shape, number of pairs.
        progress: receives progress lines.

    Returns:
        A `Measurement` for each candidate, and under `""` that of the reference against itself.

    Raises:
        LatencyError: a child died, or took longer than `config.timeout_s`.
    """
    encoders = {"": config.reference, **candidates}
    request = json.dumps({"encoders": {n: to_dict(e) for n, e in encoders.items()}, "config": to_dict(config)})
    results: list[dict[str, Any]] = []
    for process in range(config.processes):
        started = time.perf_counter()
        command = [sys.executable, "-m", "benchmark.hardware.latency_child"]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
        # Each process compiles anew: how a program was laid out this time is part of what varies.
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        try:
            child = subprocess.run(
                command,
                input=request,
                capture_output=True,
                text=True,
                timeout=config.timeout_s,
                env=environment,
                cwd=_ROOT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LatencyError(
                f"latency: the measuring process took more than timeout_s = {config.timeout_s:g} s"
            ) from None
        if child.returncode:
            last = (child.stderr.strip().splitlines() or ["no message"])[-1]
            raise LatencyError(f"latency: the measuring process ended with code {child.returncode}: {last}")
        try:
            results.append(json.loads(child.stdout.splitlines()[-1]))
        except (IndexError, ValueError):
            raise LatencyError("latency: the measuring process gave no samples") from None
        progress(f"latency: process {process + 1}/{config.processes} in {time.perf_counter() - started:.1f} s")
    return {
        name: Measurement(
            [r[name]["samples_ns"] for r in results],
            [r[name]["reference_samples_ns"] for r in results],
            max(r[name]["warmup_calls"] for r in results),
        )
        for name in encoders
    }


def _executable(encoder: EncoderConfig, config: LatencyConfig) -> Callable[[int], int]:
    """The serving program of an encoder; the result runs it on input number `i` and returns nanoseconds."""
    import jax

    from benchmark.models.encoder import Encoder
    from benchmark.models.inference import compile_encoder
    from benchmark.training.initial import init_tree, trained_like

    shape = (config.batch_size, config.sequence_length)
    params = trained_like(init_tree(Encoder(encoder), encoder, 0, num_inputs=3))
    serve = compile_encoder(encoder, params, *shape)
    ids = np.random.default_rng(0).integers(0, encoder.vocab_size, (16, *shape), dtype=np.int32)
    inputs = [jax.device_put(row) for row in ids]
    mask, types = jax.device_put((np.ones(shape, np.int32), np.zeros(shape, np.int32)))

    def run(i: int) -> int:
        started = time.perf_counter_ns()
        serve(inputs[i % len(inputs)], mask, types).block_until_ready()
        return time.perf_counter_ns() - started

    return run


def warm_up(run: Callable[[int], int], max_seconds: float = 10.0) -> int:
    """Calls until two blocks of ten in a row improve by less than 5 %, at least 20 times; returns how often."""
    best, calm, calls, started = float("inf"), 0, 0, time.perf_counter()
    while calls < 20 or (calm < 2 and time.perf_counter() - started < max_seconds):
        median = float(np.median([run(calls + i) for i in range(10)]))
        calls += 10
        calm = calm + 1 if median > 0.95 * best else 0
        best = min(best, median)
    return calls


def time_pairs(
    candidate: Callable[[int], int], reference: Callable[[int], int], pairs: int, min_seconds: float
) -> tuple[list[int], list[int]]:
    """Times at least `pairs` ABBA-ordered pairs for at least `min_seconds`; returns both lists of nanoseconds."""
    ours: list[int] = []
    theirs: list[int] = []
    started = time.perf_counter()
    while len(ours) < pairs or time.perf_counter() - started < min_seconds:
        i = len(ours)
        if i % 2 == 0:
            ours.append(candidate(i))
            theirs.append(reference(i))
        else:
            theirs.append(reference(i))
            ours.append(candidate(i))
    return ours, theirs


def run_child(text: str) -> str:
    """The child's whole work: request in, samples out, both JSON."""
    request = json.loads(text)
    values = request["config"]
    reference_encoder = encoder_from_dict(values.pop("reference"))
    config = LatencyConfig(reference=reference_encoder, **values)
    reference = _executable(config.reference, config)
    warm_up(reference)
    result = {}
    for name, fields in request["encoders"].items():
        candidate = _executable(encoder_from_dict(fields), config) if name else reference
        calls = warm_up(candidate)
        ours, theirs = time_pairs(candidate, reference, config.pairs, config.min_seconds)
        result[name] = {"samples_ns": ours, "reference_samples_ns": theirs, "warmup_calls": calls}
    return json.dumps(result)
