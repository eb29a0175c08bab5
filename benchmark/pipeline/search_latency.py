"""The latency that a search optimises: an estimate for its chip, or measured here, or taken from a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from benchmark.config import fingerprint
from benchmark.hardware.estimates import LatencyFailure
from benchmark.latency.candidates import Candidates, Machine, candidate_key, candidate_protocol
from benchmark.latency.inputs import rows_of_data
from benchmark.latency.results import PROTOCOL_VERSION
from benchmark.records.search_excerpt import MeasuredSearch
from benchmark.search.measured import MeasuredLatency
from tasks.system.errors import StageError, shown

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig, LatencyConfig, RunConfig, SearchConfig
    from benchmark.pipeline.run_context import Run


class Source(Protocol):
    """Where measured latencies come from."""

    @property
    def machine(self) -> Machine:
        """The place of the measurements."""

    def __call__(self, encoders: Sequence[EncoderConfig]) -> list[float | str]:
        """Returns for each architecture its seconds, or in words why it has none."""

    def figures(self) -> Mapping[str, float | str]:
        """Returns all answers so far by `candidate_key`."""


@dataclass(frozen=True)
class Recorded:
    """The measured latencies of a record: with them its search makes the same proposals on every machine."""

    measured: MeasuredSearch

    @property
    def machine(self) -> Machine:
        """The place of the measurements."""
        return Machine(self.measured.chip, self.measured.runtime, self.measured.threads)

    def __call__(self, encoders: Sequence[EncoderConfig]) -> list[float | str]:
        """Returns what the record says of architectures.

        Raises:
            StageError: the record lacks an architecture, so that it is not that of this search.
        """
        known = self.figures()
        for encoder in encoders:
            if candidate_key(encoder) not in known:
                raise StageError(
                    f"search.measured: expected the latency of {candidate_key(encoder)}, which is proposed"
                )
        return [known[candidate_key(encoder)] for encoder in encoders]

    def figures(self) -> Mapping[str, float | str]:
        """Returns the recorded seconds and reasons."""
        return {**self.measured.seconds, **self.measured.without}


def protocol(config: RunConfig) -> LatencyConfig:
    """Returns the settings with which the candidates of a run's search are measured.

    Raises:
        ConfigError: the reference cannot take the length of the search.
    """
    search = config.required_search()
    return candidate_protocol(config.latency, search.batch_size, search.sequence_length)


def protocol_fingerprint(config: RunConfig) -> str:
    """Returns the fingerprint of what a measured latency depends on, beside architecture, data and machine."""
    return fingerprint(PROTOCOL_VERSION, protocol(config))


def measuring(run: Run) -> Candidates:
    """Makes the source that measures on this machine; the figures are kept in the folder of the search.

    Raises:
        LatencyError: those in the folder are of another machine.
    """
    config = protocol(run.config)

    def rows() -> Mapping[int, Any]:
        return rows_of_data(run.workdir / "data", config.sequence_lengths, config.seed)

    return Candidates(config, rows, run.workdir / "search" / "measured", run.progress)


def measured_latency(config: SearchConfig, source: Source, progress: Callable[[str], None]) -> MeasuredLatency:
    """Makes the latency of a search from a source, and says where it is from."""
    shape = f"batch {config.batch_size}, length {config.sequence_length}"
    progress(f"search: latency is measured: {source.machine}; {shape}")

    def measure(encoders: Sequence[EncoderConfig]) -> list[float | LatencyFailure]:
        return [LatencyFailure(found) if isinstance(found, str) else found for found in source(encoders)]

    return MeasuredLatency(config, measure, str(source.machine))


def description(source: Source) -> dict[str, Any]:
    """Describes the measured latencies of a search for its record, as JSON."""
    machine, figures = source.machine, source.figures()
    described = MeasuredSearch(
        chip=machine.chip,
        runtime=machine.runtime,
        threads=machine.threads,
        protocol_version=PROTOCOL_VERSION,
        seconds={name: found for name, found in figures.items() if not isinstance(found, str)},
        without={name: shown(found, 400) for name, found in figures.items() if isinstance(found, str)},
    )
    return described.model_dump(mode="json")
