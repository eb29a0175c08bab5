"""Results of a measurement, from the files of its processes: samples of each system in each cell, refusals, blocks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.latency import statistics
from benchmark.latency.timing import LatencyError
from benchmark.records.record import LatencyBlock

if TYPE_CHECKING:
    from benchmark.config import LatencyConfig

# Raised whenever the same settings would time something else, or in another way: results of another version are
# measured again, and never compared with those of this one.
PROTOCOL_VERSION = 4
# Processes that the protocol asks for; a record of fewer says so.
PROCESSES = 5

DTYPE = "float32"


@dataclass(frozen=True, order=True)
class Cell:
    """A runtime and a shape."""

    runtime: str
    batch_size: int
    sequence_length: int

    def __str__(self) -> str:
        return f"{self.runtime}, batch {self.batch_size}, length {self.sequence_length}"


@dataclass(frozen=True)
class Measurement:
    """One system in one cell.

    Attributes:
        samples_ns: its calls in nanoseconds, one list for each process.
        reference_samples_ns: those of the interleaved reference, pair by pair.
        warm_up_calls: calls before the first that counts, for each process.
        settled: True where warm-up ended, in every process, because calls got no faster.
        joules: energy of a call, the median over processes; None where nothing counted it.
    """

    samples_ns: list[list[int]]
    reference_samples_ns: list[list[int]]
    warm_up_calls: list[int]
    settled: bool
    joules: float | None

    @property
    def latency_s(self) -> float:
        """Median of all samples, in seconds."""
        return statistics.median_seconds(self.samples_ns)


@dataclass(frozen=True)
class Results:
    """All samples and circumstances of a measurement.

    Attributes:
        processes: the content of every process's file, by runtime.
        absent: the reason why a runtime, or `RUNTIME/SYSTEM`, was not measured.
    """

    processes: dict[str, list[dict[str, Any]]]
    absent: dict[str, str]

    @property
    def cells(self) -> list[Cell]:
        """All cells, the headline first."""
        return [
            Cell(runtime, cell["batch_size"], cell["sequence_length"])
            for runtime, files in self.processes.items()
            for cell in files[0]["cells"]
        ]

    def parts(self, cell: Cell) -> list[dict[str, Any]]:
        """Returns the entry of a cell of each process that measured it; of the first one also where it is skipped."""
        shape = (cell.batch_size, cell.sequence_length)
        every = [part for file in self.processes[cell.runtime] for part in file["cells"]]
        first, *others = [part for part in every if (part["batch_size"], part["sequence_length"]) == shape]
        return [first, *(part for part in others if "skipped" not in part)]

    def skipped(self, cell: Cell) -> str | None:
        """Returns the reason why a cell was left out; None where it was measured."""
        reason: str | None = self.parts(cell)[0].get("skipped")
        return reason

    def measurement(self, cell: Cell, system: str) -> Measurement | None:
        """Returns one system in one cell, `""` being the reference against itself; None where it was not measured."""
        if self.skipped(cell) is not None:
            return None
        found = [part["systems"][system] for part in self.parts(cell) if system in part["systems"]]
        if not found:
            return None
        joules = [entry["joules"] for entry in found if entry["joules"] is not None]
        return Measurement(
            [entry["samples_ns"] for entry in found],
            [entry["reference_samples_ns"] for entry in found],
            [entry["warm_up"]["calls"] for entry in found],
            all(entry["warm_up"]["settled"] for entry in found),
            float(np.median(joules)) if len(joules) == len(found) else None,
        )

    def noise_floor(self, cell: Cell) -> float | None:
        """Returns the difference of the reference from itself (A/A); None where the cell was left out."""
        again = self.measurement(cell, "")
        return statistics.noise_floor(again.samples_ns, again.reference_samples_ns) if again else None

    def too_wide(self, config: LatencyConfig) -> list[str]:
        """Lists systems whose headline interval is wider than `config.max_half_width`; `""` for the noise floor."""
        cell = self.cells[0]
        floor = self.noise_floor(cell)
        if floor is None:
            return []
        wide = [""] if math.expm1(floor) > config.max_half_width else []
        for system in self.parts(cell)[0]["systems"]:
            found = self.measurement(cell, system)
            if system and found is not None:
                speedup, (_, high) = statistics.speedup(found.samples_ns, found.reference_samples_ns)
                wide += [system] if high / speedup - 1.0 > config.max_half_width else []
        return wide

    def refused(self, cell: Cell, config: LatencyConfig) -> str | None:
        """Returns why a cell has no number: it was left out, or is noisier than `config.max_noise_floor`."""
        if (reason := self.skipped(cell)) is not None:
            return reason
        floor = self.noise_floor(cell)
        assert floor is not None
        if floor <= config.max_noise_floor:
            return None
        limit = f"LatencyConfig.max_noise_floor = {config.max_noise_floor:g}"
        busiest = max((file["others"] for file in self.processes[cell.runtime]), key=lambda o: o["cores"] or 0.0)
        return (
            f"the reference differs from itself by {floor:.3f}, more than {limit}; others took up to "
            f"{busiest['cores'] or 0.0:.2f} cores ({busiest['busiest'] or 'none seen'})"
        )


def shape_name(batch_size: int, sequence_length: int) -> str:
    """Returns the name of a shape in requests to measuring processes."""
    return f"{batch_size}x{sequence_length}"


def file_name(runtime: str, process: int) -> str:
    """Returns the name of the file that a measuring process writes, inside the folder of the measurement."""
    return f"{runtime}-{process}.json"


def read_results(files: Mapping[str, Sequence[Path]], absent: dict[str, str]) -> Results:
    """Reads the files of processes, by runtime.

    Raises:
        LatencyError: a file is missing or damaged.
    """
    processes = {}
    for runtime, paths in files.items():
        try:
            processes[runtime] = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        except (OSError, ValueError) as error:
            raise LatencyError(f"latency: samples cannot be read: {error}; run the stage again") from None
    return Results(processes, absent)


def blocks(results: Results, system: str, config: LatencyConfig) -> list[LatencyBlock]:
    """Builds the latency blocks of a system's record, one for each cell with a number, the headline first."""
    made = [_block(results, cell, system, config) for cell in results.cells if not results.refused(cell, config)]
    return [block for block in made if block is not None]


def _block(results: Results, cell: Cell, system: str, config: LatencyConfig) -> LatencyBlock | None:
    found, floor = results.measurement(cell, system), results.noise_floor(cell)
    again = results.measurement(cell, "")
    if found is None or floor is None or again is None:
        return None
    files = results.processes[cell.runtime]
    ratio, interval = statistics.speedup(found.samples_ns, found.reference_samples_ns, floor)
    return LatencyBlock(
        method="measured",
        chip=files[0]["device"]["chip"],
        runtime=cell.runtime,
        threads=files[0]["threads"],
        protocol_version=PROTOCOL_VERSION,
        batch_size=cell.batch_size,
        sequence_length=cell.sequence_length,
        dtype=DTYPE,
        latency_s=found.latency_s,
        percentiles_s=statistics.percentile_bounds(found.samples_ns),
        reference=config.reference_name,
        reference_percentiles_s=statistics.percentile_bounds(found.reference_samples_ns),
        speedup=ratio,
        speedup_interval=interval,
        noise_floor=floor,
        joules=found.joules,
        reference_joules=again.joules if found.joules is not None else None,
        samples_ns=found.samples_ns,
        reference_samples_ns=found.reference_samples_ns,
        details=_details(results, cell, found),
    )


def _details(results: Results, cell: Cell, found: Measurement) -> dict[str, str | int | float | bool | None]:
    """Collects circumstances of a measurement; values that the machine does not provide are left out."""
    files, part = results.processes[cell.runtime], results.parts(cell)[0]
    busiest = max(files, key=lambda file: file["others"]["cores"] or 0.0)["others"]
    loads = [[file[when]["load_average_1min"] for file in files] for when in ("before", "after")]
    count = len(found.samples_ns)
    fewer = "" if count >= PROCESSES else f" (the protocol asks for {PROCESSES})"
    interval = "another measurement, by Student's t over processes" if count > 1 else "quartiles of its pairs"
    details = {
        "processes": count,
        "pairs": sum(map(len, found.samples_ns)),
        "interval": interval + fewer,
        "warmup_calls": max(found.warm_up_calls),
        "warmup_settled": found.settled,
        "inputs": f"{part['inputs']} of {part['source']}",
        "real_tokens": part["real_tokens"],
        "host_to_device_s": part["host_to_device_ns"] * 1e-9,
        "load_before": max((load for load in loads[0] if load is not None), default=None),
        "load_after": max((load for load in loads[1] if load is not None), default=None),
        "other_cores": busiest["cores"],
        "busiest_other": busiest["busiest"],
        "cpu_governor": files[0]["before"]["cpu_governor"],
        "cpu_mhz": files[0]["after"]["cpu_mhz"],
        "energy_counter": files[0]["energy_counter"],
    }
    details |= {name: value for name, value in files[0]["device"].items() if name not in ("platform", "chip")}
    return {name: value for name, value in details.items() if value is not None}
