"""The stage that makes token arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmark.config import ConfigError, fingerprint
from benchmark.pipeline.workdir import finished, run_stage_once
from tasks.materialize import upkeep
from tasks.materialize.steps import run_in_child
from tasks.sources import own

if TYPE_CHECKING:
    from pathlib import Path

    from benchmark.pipeline.run_context import Run


def data_stage(run: Run) -> dict[str, Any]:
    """Makes token arrays, in a child process: TensorFlow never enters this one."""
    output = run.workdir / "data"
    marker, config_fingerprint = output / "stage.json", fingerprint(run.config.data)
    if finished(marker, config_fingerprint):
        changed = _changed_files(run, output)
        for name in changed:
            run.progress(f"data: {name} is not the file that it was; making its arrays again")
        # Files have changed since: the stage finds the changed part, reports it and builds it again.
        if changed or not upkeep.intact(output):
            marker.unlink()

    def work() -> dict[str, Any]:
        index = run_in_child(run.config.data.request(), output, run.progress, run.cache)
        return {"seconds": index["seconds"], "cached_seconds": index["seconds"].get("cached", 0.0)}

    return run_stage_once(marker, config_fingerprint, work, run.progress, "data")


def _changed_files(run: Run, output: Path) -> list[str]:
    """Lists the files of own tasks that were edited since; unlike official files, people do that."""
    index = upkeep.read_index(output)
    if not run.config.data.own_tasks or index is None:
        return []
    try:
        return own.changed(run.config.data.request().own_tasks, index.get("source_files", {}))
    except ConfigError:
        # Arrays that are there need no files: an environment variable may be missing with them.
        return []
