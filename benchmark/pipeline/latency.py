"""The stage that measures the latency of every architecture of a run."""

from __future__ import annotations

from typing import Any

from benchmark.config import fingerprint, to_dict
from benchmark.latency.inputs import rows_of_data
from benchmark.latency.measure import PROTOCOL_VERSION, measure
from benchmark.pipeline.run_context import Run, measured_system, plan
from benchmark.pipeline.workdir import run_stage_once
from benchmark.records import manifest


def latency_stage(run: Run) -> dict[str, Any]:
    """Measures every architecture of the run on this machine, each interleaved with the frozen reference."""
    systems = plan(run)
    encoders = {measured_system(system, systems): system.encoder for system in systems}
    directory = run.workdir / "latency"

    def work() -> dict[str, Any]:
        latency = run.config.latency
        rows = rows_of_data(run.workdir / "data", latency.sequence_lengths, latency.seed)
        results = measure(encoders, latency, run.progress, rows=rows, folder=directory)
        counts = {runtime: len(files) for runtime, files in results.processes.items()}
        return {"processes": counts, "absent": results.absent, "device": manifest.device_info()}

    shapes = {name: to_dict(e) for name, e in encoders.items()}
    stage_fingerprint = fingerprint(PROTOCOL_VERSION, run.config.latency, shapes, run.data_fingerprint)
    return run_stage_once(
        directory / "stage.json", stage_fingerprint, work, run.progress, "latency", directory=directory
    )
