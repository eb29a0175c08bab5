"""The candidates of a search, each measured once: a short form of the protocol, and a folder that keeps the figures.

A search compares latencies that are measured hours apart. They are therefore the speed-up over the interleaved
reference, turned into seconds by the time that the reference took in the first measurement of the folder.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.config import EncoderConfig, LatencyConfig, fingerprint
from benchmark.latency import statistics
from benchmark.latency.measure import measure
from benchmark.latency.timing import LatencyError
from benchmark.records.manifest import machine
from tasks.system.atomic_write import write_text
from tasks.system.cores import usable_cores

if TYPE_CHECKING:
    from benchmark.latency.inputs import Rows
    from benchmark.latency.results import Results

# Upper limits of the settings of a run's latency, so that a candidate takes seconds.
_PROCESSES, _PAIRS, _MIN_SECONDS, _MAX_SECONDS = 3, 20, 0.3, 1.0
REFERENCE_FILE = "reference.json"


@dataclass(frozen=True)
class Machine:
    """The place of a measurement; latencies of different ones are not comparable.

    Attributes:
        chip: model of the processor, or kind of the accelerator.
        runtime: one of `benchmark.config.latency.RUNTIMES`.
        threads: threads of a call; None on an accelerator.
    """

    chip: str
    runtime: str
    threads: int | None

    def __str__(self) -> str:
        threads = f", {self.threads} thread{'' if self.threads == 1 else 's'}" if self.threads else ""
        return f"{self.chip}{threads}, {self.runtime}"


def this_machine(runtime: str) -> Machine:
    """Describes the place where a runtime computes on this machine; imports jax for `xla`."""
    if runtime == "xla":
        import jax

        first = jax.devices()[0]
        if first.platform != "cpu":
            return Machine(first.device_kind, runtime, None)
    return Machine(str(machine()["cpu_model"] or "unknown"), runtime, usable_cores())


def candidate_protocol(config: LatencyConfig, batch_size: int, sequence_length: int) -> LatencyConfig:
    """Returns the settings of a candidate: those of a run's latency in one shape, with its first runtime, shortened.

    At most 3 processes, and in each 20 pairs, or as many as take 0.3 to 1 second; no energy.

    Raises:
        ConfigError: the reference cannot take the length.
    """
    return dataclasses.replace(
        config,
        runtimes=config.runtimes[:1],
        batch_sizes=(batch_size,),
        sequence_lengths=(sequence_length,),
        processes=min(config.processes, _PROCESSES),
        max_processes=min(config.processes, _PROCESSES),
        headline_factor=1,
        pairs=min(config.pairs, _PAIRS),
        min_seconds=min(config.min_seconds, _MIN_SECONDS),
        max_seconds=min(config.max_seconds, _MAX_SECONDS),
        energy_seconds=0.0,
    )


def candidate_key(encoder: EncoderConfig) -> str:
    """Returns the name of an architecture in the folder and in the record of a search."""
    return fingerprint(encoder)[:16]


class Candidates:
    """Latencies of architectures in one shape on this machine; each is measured once for a folder."""

    def __init__(
        self,
        config: LatencyConfig,
        rows: Callable[[], Mapping[int, Rows]],
        folder: Path,
        progress: Callable[[str], None],
        measurement: Callable[..., Results] = measure,
    ) -> None:
        """Measures nothing yet.

        Args:
            config: as of `candidate_protocol`: one runtime and one shape.
            rows: gives the inputs; asked when something is measured.
            folder: keeps the figures.
            progress: receives a line for each measurement.
            measurement: as `measure`.

        Raises:
            LatencyError: the figures in the folder are of another machine.
        """
        self.machine = this_machine(config.runtimes[0])
        self._config, self._rows, self._folder = config, rows, folder
        self._progress, self._measurement = progress, measurement
        there = self._read(REFERENCE_FILE)
        if there is not None and there.get("machine") != dataclasses.asdict(self.machine):
            raise LatencyError(
                f"{folder}: the candidates were measured on {Machine(**there['machine'])}, and this is {self.machine};"
                " accepted: that machine, or another --workdir"
            )

    def __call__(self, encoders: Sequence[EncoderConfig]) -> list[float | str]:
        """Returns for each architecture its seconds, or in words why it has none.

        Raises:
            LatencyError: the measurement was refused or failed.
        """
        named = {candidate_key(encoder): encoder for encoder in encoders}
        missing = {name: encoder for name, encoder in named.items() if self._found(name) is None}
        for name, encoder in list(missing.items()):
            if encoder.max_length < self._config.sequence_lengths[0]:
                reason = f"{encoder.max_length_text}: expected at least {self._config.sequence_lengths[0]} tokens"
                self._write(f"{name}.json", {"without": reason})
                del missing[name]
        if missing:
            self._measure(missing)
        return [self._found(name) or "no samples" for name in map(candidate_key, encoders)]

    def figures(self) -> dict[str, float | str]:
        """Returns what is known of all architectures that the folder was asked for, by `candidate_key`."""
        names = sorted(path.stem for path in self._folder.glob("*.json") if len(path.stem) == 16)
        return {name: found for name in names if (found := self._found(name)) is not None}

    def _measure(self, encoders: Mapping[str, EncoderConfig]) -> None:
        """Measures architectures and writes the figures of each, or the reason why it has none."""
        started = time.perf_counter()
        graphs = self._folder / "graphs"
        results = self._measurement(
            encoders, self._config, _silent, rows=self._rows(), folder=self._folder, graphs=graphs
        )
        (cell,) = results.cells
        again, floor = results.measurement(cell, ""), results.noise_floor(cell)
        if again is None or floor is None:
            raise LatencyError(f"latency: refused: {cell}: {results.skipped(cell)}")
        reference = self._read(REFERENCE_FILE)
        if reference is None:
            reference = {"machine": dataclasses.asdict(self.machine), "latency_s": again.latency_s}
            self._write(REFERENCE_FILE, reference)
        files = results.processes[cell.runtime]
        others = max((file["others"] for file in files), key=lambda other: other["cores"] or 0.0)
        shown = []
        for name in encoders:
            found = results.measurement(cell, name)
            if found is None:
                self._write(f"{name}.json", {"without": results.absent.get(f"{cell.runtime}/{name}", "no samples")})
                continue
            speedup, interval = statistics.speedup(found.samples_ns, found.reference_samples_ns, floor)
            figures = {
                "latency_s": reference["latency_s"] / speedup,
                "speedup": speedup,
                "speedup_interval": interval,
                "noise_floor": floor,
                "median_s": found.latency_s,
                "reference": self._config.reference_name,
                "processes": len(found.samples_ns),
                "pairs": sum(map(len, found.samples_ns)),
                "warmup_settled": found.settled,
                "other_cores": others["cores"],
                "busiest_other": others["busiest"],
                "device": files[0]["device"],
            }
            self._write(f"{name}.json", figures)
            half = max(speedup / interval[0], interval[1] / speedup) - 1.0
            width = f"{half:.0%}" if half < 1.0 else "over 100%"
            shown.append(f"{figures['latency_s'] * 1e3:.3f} ms +-{width}")
        busy = f"; other processes took {others['cores']:.2f} cores" if (others["cores"] or 0.0) > 0.25 else ""
        took = time.perf_counter() - started
        self._progress(f"latency: measured {', '.join(shown) or 'nothing'} in {took:.1f} s{busy}")

    def _found(self, name: str) -> float | str | None:
        """Returns the seconds of an architecture, or why it has none; None where it was not asked for."""
        figures = self._read(f"{name}.json")
        if figures is None:
            return None
        return str(figures["without"]) if "without" in figures else float(figures["latency_s"])

    def _read(self, name: str) -> dict[str, Any] | None:
        """Reads a file of the folder; a damaged one counts as missing."""
        try:
            found: dict[str, Any] = json.loads((self._folder / name).read_text(encoding="utf-8"))
            return found if "without" in found or found["latency_s"] > 0 else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _write(self, name: str, values: Mapping[str, Any]) -> None:
        write_text(self._folder / name, json.dumps(values, allow_nan=False) + "\n")


def _silent(_line: str) -> None:
    """Takes the lines of single processes."""
