"""The search over encoders as a problem: fields of the space, an objective to learn, latency known in advance."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from benchmark.config.search import MEASURED
from benchmark.hardware.estimates import Latencies, LatencyFailure
from benchmark.models.formulas import num_parameters
from benchmark.search.problem import Field, Objective, Point, Problem
from benchmark.search.space import decode_if_valid, searched_fields

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig, SearchConfig

LATENCY = "latency_s"
# Latency gains beyond a hundredth of the threshold do not count, as in `pareto.hypervolume`.
_FASTEST = 0.01

Key = tuple[int, ...]


class Architectures:
    """The points of a search, each decoded once, and their latencies.

    Attributes:
        quick_is_exact: True where no method is better than the quick one.
        measured: True where an exact latency is a measurement, which takes many seconds.
    """

    def __init__(self, config: SearchConfig, latency: Latencies) -> None:
        self.quick_is_exact, self.measured = latency.method == "roofline", latency.method == MEASURED
        self._config, self._latency = config, latency
        self._names = searched_fields(config.space)
        self._inspected: dict[Key, tuple[EncoderConfig, float] | None] = {}

    def key(self, point: Point) -> Key:
        """Returns the point's values in the order of the fields."""
        return tuple(int(point[name]) for name in self._names)

    def _inspect(self, point: Point) -> tuple[EncoderConfig, float] | None:
        """Returns architecture and quick latency of a point; None if it is invalid or has too many parameters."""
        key = self.key(point)
        if key not in self._inspected:
            encoder = decode_if_valid(self._config.space, dict(zip(self._names, key, strict=True)))
            limit = self._config.max_parameters
            if encoder is None or (limit and num_parameters(encoder) > limit):
                self._inspected[key] = None
            else:
                self._inspected[key] = (encoder, self._latency.quick(encoder).latency_s)
        return self._inspected[key]

    def exact(self, points: Sequence[Point]) -> dict[Key, float]:
        """Returns exact latencies in seconds by key.

        A point without an exact latency gets its quick one: its trial then fails with the reason and is not proposed
        again.
        """
        seen = [(self.key(p), found) for p in points if (found := self._inspect(p)) is not None]
        estimates = self._latency.exact([encoder for _, (encoder, _) in seen])
        return {
            key: quick if isinstance(estimate, LatencyFailure) else estimate.latency_s
            for (key, (_, quick)), estimate in zip(seen, estimates, strict=True)
        }

    def problem(self, exact: Mapping[Key, float], only_exact: bool = False) -> Problem:
        """Builds the problem with the best latencies known so far.

        Args:
            exact: exact latencies in seconds. Quick ones of other points are scaled by the median ratio of exact to
                quick, so that both can be compared.
            only_exact: leaves out points of which only the quick latency is known.
        """
        config = self._config
        ratios = [
            seconds / found[1]
            for key, seconds in exact.items()
            if (found := self._inspect(dict(zip(self._names, key, strict=True)))) is not None
        ]
        scale = statistics.median(ratios) if ratios and not self.quick_is_exact else 1.0

        def describe(point: Point) -> Mapping[str, float] | None:
            found = self._inspect(point)
            if found is None:
                return None
            known = exact.get(self.key(point))
            if known is None and only_exact and not self.quick_is_exact:
                return None
            return {LATENCY: scale * found[1] if known is None else known}

        threshold = config.latency_threshold_s
        return Problem(
            fields=tuple(Field(name, getattr(config.space, name)) for name in self._names),
            objectives=(
                Objective(config.outcome, config.accuracy_threshold, maximize=True, best=100.0),
                Objective(LATENCY, threshold, best=_FASTEST * threshold, log=True, known=True),
            ),
            describe=describe,
        )
