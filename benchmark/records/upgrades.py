"""Upgrades of older records to the next version; each takes and returns the JSON value of a whole record."""

from __future__ import annotations

from typing import Any


def from_version_1(value: dict[str, Any]) -> dict[str, Any]:
    """Upgrades a record to version 2, in which measured latency names its runtime and protocol.

    Version 1 had the runtime among the details, and lacked the protocol, which was always the second one.
    """
    blocks = value.get("latency")
    upgraded = [_measured_from_version_1(block) for block in blocks] if isinstance(blocks, list) else blocks
    return value | {"schema_version": 2, "latency": upgraded}


def _measured_from_version_1(block: object) -> object:
    # pydantic refuses anything that is no block afterwards.
    if not isinstance(block, dict) or block.get("method") != "measured":
        return block
    details = block.get("details", {})
    if not isinstance(details, dict):
        return block
    rest = {name: value for name, value in details.items() if name != "runtime"}
    return {"runtime": details.get("runtime"), "protocol_version": 2} | block | {"details": rest}


def from_version_2(value: dict[str, Any]) -> dict[str, Any]:
    """Upgrades a record to version 3, which names its numerics; before, they were always native."""
    provenance = value.get("provenance")
    if isinstance(provenance, dict):
        provenance = {"numerics": {"mode": "native", "reduction_threads": None}} | provenance
    return value | {"schema_version": 3, "provenance": provenance}


def from_version_3(value: dict[str, Any]) -> dict[str, Any]:
    """Upgrades a record to version 4, in which a student may be distilled several times; before, it was once."""
    training, tasks = value.get("training"), value.get("tasks")
    # pydantic refuses anything that is neither afterwards.
    if not isinstance(training, dict) or not isinstance(tasks, list) or training.get("teacher") is None:
        return value | {"schema_version": 4}
    kept = ("masked_lm_accuracy", "masked_lm_loss", "parameters_sha256")
    only = {"seed": 0} | {name: training.get(name) for name in kept}
    replicates = [only] if only["parameters_sha256"] is not None else []
    tasks = [_one_distillation(task) for task in tasks]
    return value | {"schema_version": 4, "training": {"replicates": replicates} | training, "tasks": tasks}


def _one_distillation(task: object) -> object:
    seeds = task.get("seeds") if isinstance(task, dict) else None
    return {"distill_seeds": [0] * len(seeds)} | task if isinstance(task, dict) and isinstance(seeds, list) else task


# From each older version to the next.
UPGRADES = {1: from_version_1, 2: from_version_2, 3: from_version_3}
