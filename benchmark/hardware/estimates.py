"""Estimated latencies, without running anything: by the chip's own compiler, or by roofline arithmetic.

`known_latency` picks the first method that is available. All its exact latencies come from that one method, so that
they can be compared with each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmark.config import ChipConfig, ConfigError, EncoderConfig
from benchmark.config.search import MEASURED
from benchmark.hardware import compiled, roofline
from tasks.system.errors import StageError

Detail = str | int | float | bool | None
# Detail of a roofline estimate for a chip whose cost of an operation is not fitted.
ONLY_A_RANK = "only_a_rank"


class Target(Protocol):
    """The chip and shape of a latency; `SearchConfig` is one."""

    @property
    def chip(self) -> ChipConfig:
        """The chip."""

    @property
    def latency_methods(self) -> tuple[str, ...]:
        """Methods in order of preference."""

    @property
    def batch_size(self) -> int:
        """Sequences in a batch."""

    @property
    def sequence_length(self) -> int:
        """Tokens in a sequence."""


@dataclass(frozen=True)
class Estimate:
    """A latency of one forward pass in seconds, its method, and its parts.

    The method is `compiled` or `roofline`, or `measured` in a search that measures (`benchmark.search.measured`).
    """

    method: str
    latency_s: float
    details: Mapping[str, Detail] = field(default_factory=dict)


@dataclass(frozen=True)
class LatencyFailure:
    """The reason, in one line, why an architecture has no latency."""

    reason: str


def is_only_a_rank(method: str, chip: ChipConfig) -> bool:
    """Returns True for a roofline without a fitted cost of an operation: it orders architectures and is no time."""
    return method == "roofline" and not chip.op_overhead_s


class Latencies(Protocol):
    """Latencies of architectures that a search knows before it trains them; `KnownLatency` estimates them."""

    @property
    def method(self) -> str:
        """Method of `exact`."""

    @property
    def only_a_rank(self) -> bool:
        """True where `exact` orders architectures and is no time."""

    def quick(self, encoder: EncoderConfig) -> Estimate:
        """Returns a latency that takes no time to know."""

    def exact(self, encoders: Sequence[EncoderConfig]) -> list[Estimate | LatencyFailure]:
        """Returns the latency that the search works with, of each architecture in their order."""


class KnownLatency:
    """Latencies of architectures on one chip at one batch size and length; `known_latency` makes it.

    Attributes:
        method: method of `exact`. With `roofline`, `quick` and `exact` are equal.
    """

    def __init__(self, target: Target, compiler: compiled.Compiler | None) -> None:
        self._target, self._compiler = target, compiler
        self.method = "roofline" if compiler is None else "compiled"

    @property
    def only_a_rank(self) -> bool:
        """True where `exact` orders architectures and is no time (`is_only_a_rank`)."""
        return is_only_a_rank(self.method, self._target.chip)

    def quick(self, encoder: EncoderConfig) -> Estimate:
        """Returns the roofline estimate: arithmetic alone, in microseconds."""
        target = self._target
        found = roofline.estimate(encoder, target.chip, target.batch_size, target.sequence_length)
        details: dict[str, Detail] = {f"{name}_s": float(getattr(found, f"{name}_s")) for name in roofline.LIMITS}
        if not target.chip.op_overhead_s:
            details[ONLY_A_RANK] = True
        return Estimate("roofline", found.latency_s, {"limit": found.limit, **details})

    def exact(self, encoders: Sequence[EncoderConfig]) -> list[Estimate | LatencyFailure]:
        """Returns the best available latency of each architecture, in their order.

        Each takes seconds, or no time where the cache has it. May be called from several threads.
        """
        if self._compiler is None:
            return [self.quick(encoder) for encoder in encoders]
        limit = self._target.sequence_length
        results: list[Estimate | LatencyFailure] = []
        fitting = [e for e in encoders if e.max_length >= limit]
        found = dict(zip(fitting, self._compiler.figures(fitting), strict=True))
        for encoder in encoders:
            if encoder not in found:
                results.append(LatencyFailure(f"{encoder.max_length_text}: expected at least {limit} tokens"))
            else:
                results.append(self._compiled_estimate(encoder, found[encoder], self._compiler))
        return results

    def _compiled_estimate(
        self, encoder: EncoderConfig, figures: compiled.CompiledFigures | StageError, compiler: compiled.Compiler
    ) -> Estimate | LatencyFailure:
        chip = self._target.chip
        if isinstance(figures, StageError):
            return LatencyFailure(f"{chip.name}: {figures}")
        details: dict[str, Detail] = {
            "cycles": figures.cycles,
            "waiting_cycles": figures.waiting_cycles,
            "clock_hz": chip.clock_hz,
            "copied_bytes": figures.bytes,
            "unestimated_operations": figures.unestimated,
            "compiled_for": f"{compiler.device()}, {chip.cores} of its cores, {chip.topology}",
            "compiled_layers": ", ".join(map(str, figures.compiled_layers)),
            **compiler.versions,
        }
        target, latency_s = self._target, figures.total_cycles / chip.clock_hz
        least = roofline.latency_floor(encoder, chip, target.batch_size, target.sequence_length)
        if latency_s < least:
            return LatencyFailure(
                f"{chip.name}: the compiler's {latency_s:.3g} s is impossible: the matrix products alone take "
                f"{least:.3g} s at the chip's peak"
            )
        return Estimate("compiled", latency_s, details)


def roofline_latency(target: Target) -> KnownLatency:
    """Makes the latency by roofline, whatever `target.latency_methods` prefers.

    Raises:
        ConfigError: the chip lacks a figure.
    """
    target.chip.require("roofline", "peak_flops", "memory_bandwidth")
    return KnownLatency(target, None)


def known_latency(target: Target, cache_directory: Path | None, progress: Callable[[str], None]) -> KnownLatency:
    """Chooses the first of `target.latency_methods` that this machine and the chip's figures allow.

    Args:
        target: chip, methods, batch size and length; a `SearchConfig` for example.
        cache_directory: folder of exact latencies for later runs; None keeps them for this object alone.
        progress: receives one line for each method that is not available, and one where the latency is only a rank.

    Raises:
        StageError: none of the methods is available, or the latency is to be measured; one line.
    """
    chip = target.chip
    if MEASURED in target.latency_methods:
        raise StageError(
            "SearchConfig.latency_methods = ('measured',): measured by the search of a run alone; expected methods that"
            f" estimate the latency of {chip.name}"
        )
    refused = []
    for method in target.latency_methods:
        try:
            chip.require(method, "peak_flops", "memory_bandwidth")
            if method == "roofline":
                latency = KnownLatency(target, None)
                if latency.only_a_rank:
                    progress(
                        f"latency of {chip.name} by roofline: a rank and not a time, as ChipConfig.op_overhead_s of"
                        " this chip is not fitted (docs/hardware.md)"
                    )
                return latency
            compiler = compiled.Compiler(chip, target.batch_size, target.sequence_length, cache_directory)
            if not compiler.versions["libtpu"]:
                raise StageError("libtpu is not installed; pip install -e '.[tpu]'")
            compiler.device()
            return KnownLatency(target, compiler)
        except (ConfigError, StageError) as error:
            refused.append(f"latency of {chip.name} not {method}: {error}")
            progress(refused[-1])
    raise StageError("; ".join(refused))
