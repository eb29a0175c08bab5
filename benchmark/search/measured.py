"""Latencies of a search that are measured on this machine, and a roofline in their scale for all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from benchmark.config.search import MEASURED
from benchmark.hardware.estimates import Estimate, KnownLatency, LatencyFailure, roofline_latency
from benchmark.models.formulas import num_parameters
from benchmark.search.problem import ENUMERABLE
from benchmark.search.space import combinations, decode, enumerate_points
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig, SearchConfig

# Gives seconds of one forward pass for each architecture; the same ones whenever it is asked again.
Measure = Callable[[Sequence["EncoderConfig"]], Sequence[float | LatencyFailure]]


class MeasuredLatency:
    """Latencies of architectures on this machine; each is measured when `exact` first asks for it.

    Attributes:
        method: `measured`.
        only_a_rank: False, as these are times.
    """

    def __init__(self, config: SearchConfig, measure: Measure, machine: str) -> None:
        """Measures nothing yet.

        Args:
            config: the search; its chip needs the figures of a roofline.
            measure: measures architectures at the batch size and length of the search.
            machine: where, in words; the journal has it with each trial.

        Raises:
            ConfigError: the chip lacks a figure.
        """
        self.method, self.only_a_rank = MEASURED, False
        self._config, self._measure, self._machine = config, measure, machine
        self._roofline = roofline_latency(config)
        self._known: dict[EncoderConfig, Estimate | LatencyFailure] = {}

    def quick(self, encoder: EncoderConfig) -> Estimate:
        """Returns the roofline, scaled so that it is right for the architecture that it calls the fastest.

        Raises:
            StageError: that one cannot be measured.
        """
        return Estimate("roofline", self._scale * self._roofline.quick(encoder).latency_s)

    def exact(self, encoders: Sequence[EncoderConfig]) -> list[Estimate | LatencyFailure]:
        """Returns the measured latency of each architecture, in their order.

        Raises:
            StageError: this machine cannot be measured now, because of other work for example.
        """
        missing = [encoder for encoder in dict.fromkeys(encoders) if encoder not in self._known]
        if missing:
            for encoder, found in zip(missing, self._measure(missing), strict=True):
                self._known[encoder] = (
                    found
                    if isinstance(found, LatencyFailure)
                    else Estimate(MEASURED, found, {"latency_machine": self._machine})
                )
        return [self._known[encoder] for encoder in encoders]

    @cached_property
    def _scale(self) -> float:
        encoder = fastest(self._config, self._roofline)
        (found,) = self.exact([encoder])
        if isinstance(found, LatencyFailure):
            raise StageError(f"search: the architecture of the shortest roofline has no latency: {found.reason}")
        return found.latency_s / self._roofline.quick(encoder).latency_s


def fastest(config: SearchConfig, roofline: KnownLatency) -> EncoderConfig:
    """Finds the architecture of the shortest roofline among those of at most `max_parameters`.

    Returns:
        Of a space that is too large to list, `base`; of one without such an architecture, the fastest of all.
    """
    if combinations(config.space) > ENUMERABLE:
        return config.space.base
    encoders = [decode(config.space, point) for point in enumerate_points(config.space)]
    limit = config.max_parameters
    small_enough = [encoder for encoder in encoders if not limit or num_parameters(encoder) <= limit]
    return min(small_enough or encoders, key=lambda encoder: roofline.quick(encoder).latency_s)
