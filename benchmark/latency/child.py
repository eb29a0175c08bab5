"""The measuring process: a request on standard input, all samples in one file, written at the end.

`benchmark.latency.measure.measure` starts it. A failure or refusal is one line on standard output, as JSON
`{"error": ...}`.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib.metadata
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmark.config import EncoderConfig, LatencyConfig, encoder_from_dict, latency_from_dict
from benchmark.latency import energy, machine_state
from benchmark.latency.inputs import read_rows
from benchmark.latency.results import shape_name
from benchmark.latency.runtimes import OnnxRuntime, Runtime, Xla
from benchmark.latency.timing import LatencyError, Timed, WarmUp, time_pairs, timed_window, warm_up
from benchmark.process.setup import end_with_parent
from benchmark.records.manifest import machine
from tasks.system.atomic_write import write_text


@dataclasses.dataclass(frozen=True)
class Subject:
    """The systems that one process measures in every shape."""

    runtime: Runtime
    # The architecture that all are compared with.
    reference: EncoderConfig
    # The architectures to measure, by name; `""` is the reference against itself.
    encoders: dict[str, EncoderConfig]
    # A file of `inputs`.
    rows: Path
    # Number of the process, which decides the rows that it reads.
    process: int
    # The energy counter, where the machine has one.
    counter: energy.Counter | None


def main(text: str) -> None:
    """Measures the cells of a request, and writes its file.

    Args:
        text: JSON with `config`, `runtime`, `encoders` (by name, `""` being the reference), `graphs` (files for ONNX
            Runtime), `rows` (a file of `inputs`), `systems` (the names to measure), `skip` (cells to leave out,
            with reasons), `process`, `fingerprint` and `output`.

    Raises:
        LatencyError: something compiled in a timed window, or other processes took too much.
    """
    request = json.loads(text)
    config = latency_from_dict(request["config"])
    encoders = {name: encoder_from_dict(request["encoders"][name]) for name in request["systems"]}
    reference = encoder_from_dict(request["encoders"][""])
    runtime: Runtime = Xla() if request["runtime"] == Xla.name else OnnxRuntime(request["graphs"])
    started, before, watch = time.perf_counter(), machine_state.state(), machine_state.Watch()
    device = describe_device(runtime)
    counter = energy.find_counter(str(device["platform"]))
    subject = Subject(runtime, reference, encoders, Path(request["rows"]), request["process"], counter)
    # Garbage is collected before each timed window; imported modules are exempt.
    gc.freeze()
    cells: list[dict[str, Any]] = []
    for batch_size in config.batch_sizes:
        for length in config.sequence_lengths:
            cell: dict[str, Any] = {"batch_size": batch_size, "sequence_length": length}
            reason = request["skip"].get(shape_name(batch_size, length))
            if reason is None:
                factor = 1 if cells else config.headline_factor
                cell |= measure_cell(subject, scale_budget(config, factor), batch_size, length)
            else:
                cell["skipped"] = reason
            cells.append(cell)
    others = watch.others()
    if others.cores is not None and others.cores > config.max_other_cores:
        raise LatencyError(
            f"latency: refused: other processes took {others.cores:.2f} cores while process {request['process'] + 1}"
            f" measured, more than LatencyConfig.max_other_cores = {config.max_other_cores:g};"
            f" most of it: {others.busiest or 'no process that can be seen from here'}"
        )
    result = {
        "fingerprint": request["fingerprint"],
        "runtime": request["runtime"],
        "process": request["process"],
        "threads": runtime.threads,
        "device": device,
        "energy_counter": counter.name if counter else None,
        "before": before,
        "after": machine_state.state(),
        "others": dataclasses.asdict(others),
        "seconds": round(time.perf_counter() - started, 3),
        "cells": cells,
    }
    write_text(Path(request["output"]), json.dumps(result, allow_nan=False) + "\n")


def describe_device(runtime: Runtime) -> dict[str, str | int | None]:
    """Describes the device that a runtime computes on, its software, and the flags in the environment."""
    packages = ("jax", "jaxlib") if isinstance(runtime, Xla) else ("onnxruntime",)
    here = machine()
    found: dict[str, str | int | None] = {name: importlib.metadata.version(name) for name in packages}
    found |= {name: here[name] for name in ("cpu_model", "cpu_usable")}  # type: ignore[misc]
    found |= {"platform": "cpu", "chip": str(here["cpu_model"] or "unknown"), "driver": None}
    if isinstance(runtime, Xla):
        import jax

        first = jax.devices()[0]
        found["xla_flags"] = os.environ.get("XLA_FLAGS") or "none"
        if first.platform != "cpu":
            driver = " ".join(str(first.client.platform_version).split())
            found |= {"platform": first.platform, "chip": first.device_kind, "driver": driver}
    return found


def scale_budget(config: LatencyConfig, factor: int) -> LatencyConfig:
    """Returns the settings with `factor` times the pairs and seconds of a cell."""
    seconds = {name: factor * getattr(config, name) for name in ("min_seconds", "max_seconds")}
    return dataclasses.replace(config, pairs=factor * config.pairs, **seconds)


def measure_cell(subject: Subject, config: LatencyConfig, batch_size: int, length: int) -> dict[str, Any]:
    """Measures all systems against the reference in one shape.

    Returns:
        The figures, as JSON: `systems` with the samples of each, or `skipped` with the reason.
    """
    runtime, encoders = subject.runtime, subject.encoders
    rows = read_rows(subject.rows, length)
    inputs, copy_ns = runtime.inputs(rows, batch_size, config.seed + subject.process)
    reference = runtime.load("", subject.reference, batch_size, length)(inputs)
    # The first call sets things up and does not count.
    reference(0)
    call_s = reference(1) * 1e-9
    if call_s > config.max_call_seconds:
        limit = f"LatencyConfig.max_call_seconds = {config.max_call_seconds:g}"
        return {"skipped": f"one call of the reference takes {call_s:.1f} s, more than {limit}"}
    warm = warm_up(reference, config.warm_up_seconds)

    def timed(name: str, candidate: Timed, own: WarmUp) -> dict[str, Any]:
        with timed_window(f"latency: {name or config.reference_name}, batch {batch_size}, length {length}"):
            ours, theirs = time_pairs(
                candidate, reference, config.pairs, config.min_seconds, config.max_seconds, own.calls
            )
        return {
            "samples_ns": ours,
            "reference_samples_ns": theirs,
            "warm_up": dataclasses.asdict(own),
            "joules": _joules(subject.counter, candidate, config.energy_seconds, own.calls + len(ours)),
        }

    systems = {"": timed("", reference, warm)} if "" in encoders else {}
    names = [name for name in encoders if name]
    # Two programs are compiled at a time and then measured, to limit memory.
    for first in range(0, len(names), 2):
        pair = names[first : first + 2]
        with ThreadPoolExecutor(2) as pool:
            loaded = pool.map(lambda name: runtime.load(name, encoders[name], batch_size, length), pair)
            candidates = [bind(inputs) for bind in loaded]
        for name, candidate in zip(pair, candidates, strict=True):
            systems[name] = timed(name, candidate, warm_up(candidate, config.warm_up_seconds))
    return {
        "inputs": len(inputs),
        "source": rows.source,
        "real_tokens": round(rows.real_share, 4),
        "host_to_device_ns": copy_ns,
        "systems": systems,
    }


def _joules(counter: energy.Counter | None, run: Timed, seconds: float, first: int) -> float | None:
    return energy.joules_per_call(counter, run, seconds, first) if counter and seconds else None


if __name__ == "__main__":
    # A measurement whose parent died would disturb the next one.
    end_with_parent()
    try:
        main(sys.stdin.read())
    except LatencyError as refused:
        sys.stdout.write(json.dumps({"error": str(refused)}) + "\n")
