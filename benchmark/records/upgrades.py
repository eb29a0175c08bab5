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


# From each older version to the next.
UPGRADES = {1: from_version_1, 2: from_version_2}
