"""Settings of measured latency: shapes, duration, and limits beyond which a measurement is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.config.checks import LARGEST_SEED, Checked, setting
from benchmark.config.encoder import EncoderConfig, encoder_from_dict

RUNTIMES = ("xla", "onnxruntime")


@dataclass(frozen=True, kw_only=True)
class LatencyConfig(Checked):
    """Measured latency: candidate and frozen reference in turns (ABBA), in several fresh processes."""

    # The frozen reference, with which every candidate is interleaved.
    reference: EncoderConfig = setting()
    reference_name: str = setting("reference")
    # The grid is every combination of the next three; its first cell is the headline.
    runtimes: tuple[str, ...] = setting(("xla",), choices=RUNTIMES)
    batch_sizes: tuple[int, ...] = setting((1, 8, 32), at_least=1)
    sequence_lengths: tuple[int, ...] = setting((128, 384), at_least=2)
    # Fresh processes, each of which measures all cells. Where an interval of the headline reaches further up than
    # `max_half_width` of its speed-up, further processes measure that system, up to `max_processes`.
    processes: int = setting(5, at_least=1)
    max_processes: int = setting(20, at_least=1)
    max_half_width: float = setting(0.05, at_least=0.0)
    # In the headline `pairs`, `min_seconds` and `max_seconds` are so many times as large.
    headline_factor: int = setting(10, at_least=1)
    # In a process a candidate has at least `pairs` pairs and `min_seconds` in a cell, unless `max_seconds` are over
    # first; then two pairs suffice.
    pairs: int = setting(20, at_least=10)
    min_seconds: float = setting(0.2, at_least=0.0)
    max_seconds: float = setting(0.3, at_least=0.0)
    # Warm-up ends when calls no longer get faster, and at the latest after so many seconds.
    warm_up_seconds: float = setting(0.25, at_least=0.0, at_most=30.0)
    # A cell in which one call of the reference takes longer is left out.
    max_call_seconds: float = setting(2.0, at_least=0.0)
    # A measurement is refused where the reference against itself differs by more than this, in the logarithm. No sample
    # depends on this limit, the next one and `timeout_s`: a run that was refused continues with laxer ones.
    max_noise_floor: float = setting(0.1, at_least=0.0, changes_results=False)
    # A measurement is refused where other processes took more processor cores meanwhile.
    max_other_cores: float = setting(0.5, at_least=0.0, changes_results=False)
    # Seconds of the calls that an energy counter brackets, where the machine has one.
    energy_seconds: float = setting(0.5, at_least=0.0)
    # Limit of one process.
    timeout_s: float = setting(600.0, at_least=1.0, changes_results=False)
    # Chooses the rows of the data that are the inputs.
    seed: int = setting(0, at_least=0, at_most=LARGEST_SEED)

    def check(self) -> None:
        """Refuses empty or repeated values, and lengths that the reference cannot take."""
        for name in ("runtimes", "batch_sizes", "sequence_lengths"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                self.refuse(name, "distinct values, at least one")
        if self.max_seconds < self.min_seconds:
            self.refuse("max_seconds", f"at least min_seconds = {self.min_seconds:g}")
        if self.max_processes < self.processes:
            self.refuse("max_processes", f"at least processes = {self.processes}")
        if max(self.sequence_lengths) > self.reference.max_length:
            self.refuse("sequence_lengths", f"at most {self.reference.max_length_text} of the reference")


def latency_from_dict(values: Mapping[str, Any]) -> LatencyConfig:
    """Builds a LatencyConfig from its `to_dict` form.

    Raises:
        ConfigError: the class refuses a value.
    """
    return LatencyConfig(**{**values, "reference": encoder_from_dict(values["reference"])})
