"""Latencies that are known without running anything: by the chip's own compiler, or by roofline arithmetic.

`known_latency` picks the first method that can be had. All exact latencies that it gives are of that one method, so
that they can be compared with each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmark.config import ChipConfig, EncoderConfig
from benchmark.hardware import roofline

Detail = str | int | float | bool | None


class Target(Protocol):
    """What a latency is asked for; `SearchConfig` is one."""

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
    """A latency of one forward pass in seconds, the method that gave it (`compiled` or `roofline`), and its parts."""

    method: str
    latency_s: float
    details: Mapping[str, Detail] = field(default_factory=dict)


@dataclass(frozen=True)
class LatencyFailure:
    """An architecture whose latency could not be had; `reason` is one line."""

    reason: str


class KnownLatency:
    """Latencies of architectures on one chip at one batch size and length; `known_latency` makes it.

    Attributes:
        method: what `exact` gives. With `roofline`, `quick` and `exact` are equal.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.method = "roofline"

    def quick(self, encoder: EncoderConfig) -> Estimate:
        """The roofline estimate: arithmetic alone, microseconds of work."""
        target = self._target
        found = roofline.estimate(encoder, target.chip, target.batch_size, target.sequence_length)
        return Estimate("roofline", found.latency_s)

    def exact(self, encoders: Sequence[EncoderConfig]) -> list[Estimate | LatencyFailure]:
        """The best latency there is for each architecture, in their order.

        It may take seconds for each that was never asked for, and nothing where the answer is on disk. May be called
        from several threads.
        """
        return [self.quick(encoder) for encoder in encoders]


def known_latency(target: Target, cache_directory: Path | None, progress: Callable[[str], None]) -> KnownLatency:
    """Chooses the first of `target.latency_methods` that this machine and the chip's figures allow.

    Args:
        target: chip, methods, batch size and length; a `SearchConfig` for example.
        cache_directory: where exact latencies are kept for later runs; None keeps them for this object alone.
        progress: receives one line for each method that cannot be had.
    """
    return KnownLatency(target)
