"""What decides the result of a stage that trains: the key under which the cache of results has it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax

from benchmark.pipeline.cache import TRAINING_CODE, SharedStage
from benchmark.pipeline.workdir import read_entry
from benchmark.process import numerics
from benchmark.records import manifest
from tasks.arrays.token_arrays import META_FILE

if TYPE_CHECKING:
    from benchmark.pipeline.run_context import Run


def shared_stage(
    run: Run,
    kind: str,
    stage_fingerprint: str,
    rows: Mapping[str, Any],
    title: str,
    *,
    items: tuple[str, ...] = (),
    appended: tuple[str, ...] = (),
    **inputs: Any,
) -> SharedStage | None:
    """Describes the result of a stage for the cache; None where the run has no cache.

    Args:
        run: the run.
        kind: a word for what it is.
        stage_fingerprint: that of its settings.
        rows: names of token arrays that it reads, in dictionaries of any depth; their content is part of the key too.
        title: for lists.
        items: as in `SharedStage`.
        appended: as in `SharedStage`.
        inputs: what else decides the result; JSON must have it.
    """
    if run.cache is None:
        return None
    arrays = [run.workdir / "data" / array for array in sorted(set(_names(rows)))]
    vocabulary = {name: value for name, value in run.data["vocabulary"].items() if name != "path"}
    name = run.cache.name(
        kind,
        TRAINING_CODE,
        stage=stage_fingerprint,
        rows=rows,
        contents={folder.name: read_entry(folder / META_FILE, "files") for folder in arrays},
        vocabulary=vocabulary,
        computed=computed_by(),
        **inputs,
    )
    return SharedStage(run.cache, name, run.progress, title, items, appended, tuple(arrays))


def _names(rows: Mapping[str, Any]) -> Iterator[str]:
    """Yields the names of token arrays."""
    for value in rows.values():
        yield from _names(value) if isinstance(value, Mapping) else (value,)


def computed_by() -> dict[str, Any]:
    """Describes what decides the last bits of a result: numerics, devices, and with native numerics the machine.

    Portable numerics on a CPU are the same on every machine (docs/reproducibility.md). Elsewhere the processor, its
    usable cores and the variables that libraries read count as well.
    """
    first = jax.devices()[0]
    found: dict[str, Any] = {
        "numerics": numerics.in_force(os.environ),
        "threads": numerics.threads_in_force(os.environ),
        "architecture": platform.machine(),
        "platform": [first.platform, first.device_kind, first.client.platform_version],
        "devices": [jax.device_count(), jax.process_count()],
    }
    if first.platform != "cpu" or found["numerics"] != numerics.PORTABLE:
        machine = manifest.machine()
        found |= {name: machine[name] for name in ("cpu_model", "cpu_usable")}
        found["environment"] = manifest.numerical_environment(os.environ)
    return found
