"""The stage that makes token arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmark.config import fingerprint
from benchmark.pipeline.workdir import finished, run_stage_once
from tasks.materialize import upkeep
from tasks.materialize.steps import run_in_child

if TYPE_CHECKING:
    from benchmark.pipeline.run_context import Run


def data_stage(run: Run) -> dict[str, Any]:
    """Makes token arrays, in a child process: TensorFlow never enters this one."""
    output = run.workdir / "data"
    marker, config_fingerprint = output / "stage.json", fingerprint(run.config.data)
    if finished(marker, config_fingerprint) and not upkeep.intact(output):
        # Files have changed since: the stage finds the changed part, reports it and builds it again.
        marker.unlink()

    def work() -> dict[str, Any]:
        index = run_in_child(run.config.data.request(), output, run.progress)
        return {"seconds": index["seconds"]}

    return run_stage_once(marker, config_fingerprint, work, run.progress, "data")
