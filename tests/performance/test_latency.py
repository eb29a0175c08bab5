"""Whole measurements of six architectures: do two of them agree, and what do they cost (`make bench`)?

The reference is the one of the CPU tracks with room for 512 positions. An interval must contain the estimate of the
other measurement, in both directions. `-k twice` measures the headline twice, `-k grid` the default grid once.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmark.config import EncoderConfig, LatencyConfig
from benchmark.latency.measure import measure
from benchmark.latency.results import Results, blocks

PLAIN: dict[str, Any] = {
    "vocab_size": 1024,
    "intra_bottleneck_size": None,
    "num_feedforward_networks": 1,
    "hidden_act": "gelu",
    "normalization_type": "layer_norm",
    "trigram_input": False,
    "key_query_shared_bottleneck": False,
}
NARROW: dict[str, Any] = {"vocab_size": 1024, "embedding_size": 64, "hidden_size": 128, "intermediate_size": 128}


def plain(layers: int, width: int, heads: int) -> EncoderConfig:
    sizes: dict[str, Any] = {"hidden_size": width, "embedding_size": width, "intermediate_size": 4 * width}
    return EncoderConfig(num_hidden_layers=layers, num_attention_heads=heads, **sizes, **PLAIN)


def bottlenecked(layers: int, inner: int, heads: int, networks: int) -> EncoderConfig:
    return EncoderConfig(
        num_hidden_layers=layers,
        intra_bottleneck_size=inner,
        num_attention_heads=heads,
        num_feedforward_networks=networks,
        **NARROW,
    )


REFERENCE = plain(4, 128, 4)
SYSTEMS = {
    "reference again": REFERENCE,
    "plain-2x128": plain(2, 128, 2),
    "plain-6x64": plain(6, 64, 1),
    "mobile-4x32": bottlenecked(4, 32, 4, 4),
    "mobile-4x64": bottlenecked(4, 64, 1, 2),
    "mobile-2x48": bottlenecked(2, 48, 2, 1),
}


def measured(config: LatencyConfig, folder: Path) -> tuple[Results, float]:
    """A whole measurement, and its seconds for each architecture."""
    started = time.perf_counter()
    results = measure(SYSTEMS, config, lambda line: print(line, file=sys.stderr), folder=folder)
    return results, (time.perf_counter() - started) / len(SYSTEMS)


def config_of(**changes: Any) -> LatencyConfig:
    # What is noisy or disturbed is to be seen in the table, not to end the comparison.
    return LatencyConfig(reference=REFERENCE, max_noise_floor=100.0, max_other_cores=1000.0, **changes)


def busy(*measurements: Results) -> str:
    """How much of the cores other processes took."""
    others = [file["others"]["cores"] or 0.0 for results in measurements for file in results.processes["xla"]]
    return f"{statistics.mean(others):.2f} cores"


def test_measuring_twice_agrees(benchmark: Any, state_ratio: Any, tmp_path: Path) -> None:
    config = config_of(batch_sizes=(1,), sequence_lengths=(128,))
    pairs: list[tuple[Results, float]] = []

    def twice() -> None:
        pairs.extend(measured(config, tmp_path / name) for name in ("one", "two"))

    benchmark.pedantic(twice, rounds=1, iterations=1)
    (one, first_seconds), (two, second_seconds) = pairs
    inside: list[bool] = []
    halves: list[float] = []
    speedups: dict[str, str] = {}
    for name in SYSTEMS:
        (ours,), (again,) = blocks(one, name, config), blocks(two, name, config)
        for block, other in ((ours, again), (again, ours)):
            assert block.speedup and block.speedup_interval and other.speedup
            low, high = block.speedup_interval
            inside.append(low <= other.speedup <= high)
            halves.append(high / block.speedup - 1)
        speedups[name] = f"{ours.speedup:.3f} and {again.speedup:.3f} (noise {ours.noise_floor:.3f})"
    share, cost = statistics.mean(inside), (first_seconds + second_seconds) / 2
    state_ratio("latency, intervals that hold the other estimate", share, 1.0, others=busy(one, two), **speedups)
    median = f"{statistics.median(halves):.3f}"
    state_ratio("latency, largest half-width", max(halves), 0.05, at_least=False, median=median)
    state_ratio("latency, headline alone, time for an architecture", cost, 60.0, unit="s", at_least=False)


def test_the_default_grid(benchmark: Any, state_ratio: Any, tmp_path: Path) -> None:
    config = config_of()
    results, cost = benchmark.pedantic(measured, args=(config, tmp_path), rounds=1, iterations=1)
    widths: dict[str, list[float]] = {}
    for name in SYSTEMS:
        for block in blocks(results, name, config):
            assert block.speedup and block.speedup_interval
            half = block.speedup_interval[1] / block.speedup - 1
            widths.setdefault(f"{block.batch_size}x{block.sequence_length}", []).append(half)
    shown = {shape: f"half-width {statistics.median(halves):.3f}" for shape, halves in widths.items()}
    label = "latency, default grid, time for an architecture"
    state_ratio(label, cost, 60.0, unit="s", at_least=False, others=busy(results), **shown)
