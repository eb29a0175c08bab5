"""Measured latencies of published architectures, in groups that a killed command need not repeat.

A group shares the processes that load the reference, and large models are spread over the groups. What a group found is
kept in one file for each system. Architectures that run the same program are measured once.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.config import EncoderConfig, LatencyConfig, fingerprint, to_dict
from benchmark.latency.inputs import Rows, embedded_rows
from benchmark.latency.measure import PROTOCOL_VERSION, LatencyError, check_inputs, measure
from benchmark.latency.onnx_graphs import graph_file
from benchmark.latency.results import blocks
from benchmark.models.formulas import num_parameters
from benchmark.records import manifest
from benchmark.records.record import LatencyBlock, Measurement, Numerics, RecordError
from benchmark.records.strict_schema import StrictModel, strict_json, validated
from tasks.system.atomic_write import write_text
from tasks.system.errors import InputError
from tasks.system.folders import remove_folder

# Systems that share the loading of the reference; a killed command repeats at most the processes of one group.
GROUP = 6
# Packages on whose versions a measured latency depends.
_MEASURED = ("jax", "jaxlib", "onnxruntime")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `measure_published` is asked for.

    Attributes:
        latency: reference, runtimes, shape and duration of the measurement.
        chips: names of chips to compile for.
        folder: receives everything.
        command: the command line, for the records.
    """

    latency: LatencyConfig
    chips: tuple[str, ...]
    folder: Path
    command: str


class Finished(StrictModel):
    """The file of one system: its latencies, how they came about, and the fingerprint of what decides them."""

    identity: str
    blocks: list[LatencyBlock]
    measurement: Measurement


def served(encoder: EncoderConfig) -> EncoderConfig:
    """Returns the architecture with the fields that its serving program does not depend on at fixed values."""
    return dataclasses.replace(encoder, initializer_range=0.02, position_initializer="normal", pooler="none")


def groups(encoders: Mapping[str, EncoderConfig]) -> list[list[str]]:
    """Divides systems into groups of at most `GROUP`, so that those with many parameters are in different ones."""
    ordered = sorted(encoders, key=lambda name: (-num_parameters(encoders[name]), name))
    count = -(-len(ordered) // GROUP)
    return [ordered[first::count] for first in range(count)]


def inputs(encoders: Mapping[str, EncoderConfig], latency: LatencyConfig) -> dict[int, Rows]:
    """Makes the inputs that all systems are measured with.

    Raises:
        InputError: an architecture cannot take them.
    """
    size = min(encoder.vocab_size for encoder in (latency.reference, *encoders.values()))
    with tempfile.TemporaryDirectory(prefix="latency-") as folder:
        rows = embedded_rows(latency.sequence_lengths, size, latency.seed, Path(folder))
    try:
        check_inputs({latency.reference_name: latency.reference, **encoders}, latency, rows)
    except LatencyError as error:
        raise InputError(str(error)) from None
    return rows


def measured_latencies(
    encoders: Mapping[str, EncoderConfig],
    rows: Mapping[int, Rows],
    request: Request,
    progress: Callable[[str], None],
) -> dict[str, Finished]:
    """Measures the systems that are not finished.

    Args:
        encoders: architectures as `served` returns them, by name.
        rows: the inputs.
        request: settings and folder.
        progress: receives progress lines.

    Returns:
        The latencies of all systems, by name.

    Raises:
        LatencyError: a measurement failed; another call continues.
    """
    latency, folder = request.latency, request.folder / "latency"
    found: dict[str, Finished] = {}
    # Distillations often share an architecture; the first name stands for all of them.
    first = {encoder: name for name, encoder in reversed(list(encoders.items()))}
    distinct = {name: encoder for encoder, name in first.items()}
    for name, encoder in distinct.items():
        done = _finished(folder / f"{name}.json", _identity(encoder, latency))
        if done is not None:
            found[name] = done
    if found:
        progress(f"measured before, and not again: {', '.join(sorted(found))}")
    waiting = [group for group in groups(distinct) if not set(group) <= found.keys()]
    for number, group in enumerate(waiting, 1):
        names = [name for name in group if name not in found]
        progress(f"group {number} of {len(waiting)}: {', '.join(names)}")
        # The reference is always timed against itself, which is its own measurement.
        candidates = {name: distinct[name] for name in names if distinct[name] != latency.reference}
        results = measure(candidates, latency, progress, rows=rows, folder=folder / "group", graphs=folder / "graphs")
        for name in names:
            made = blocks(results, name if name in candidates else "", latency)
            reasons = {what: why for what, why in results.absent.items() if what.partition("/")[2] in ("", name)}
            absent = {what.partition("/")[0]: why for what, why in reasons.items()}
            found[name] = Finished(
                identity=_identity(distinct[name], latency),
                blocks=made,
                measurement=_measurement(request, made, absent),
            )
            write_text(folder / f"{name}.json", found[name].model_dump_json() + "\n")
        remove_folder(folder / "group", ignore_errors=True)
        _remove_graphs(folder / "graphs", keep=latency.reference if number < len(waiting) else None)
    return {name: _shared(found[first[encoder]], first[encoder], name) for name, encoder in encoders.items()}


def _remove_graphs(folder: Path, keep: EncoderConfig | None) -> None:
    """Removes exported graphs, which are as large as their models, except that of the reference."""
    if keep is None:
        remove_folder(folder, ignore_errors=True)
        return
    kept = graph_file(folder, keep)
    for path in folder.glob("*"):
        if path != kept:
            remove_folder(path) if path.is_dir() else path.unlink()


def _shared(found: Finished, owner: str, name: str) -> Finished:
    """Returns the latencies of a system that another one was measured for; each block says so."""
    if owner == name:
        return found
    same = [b.model_copy(update={"details": b.details | {"measured_as": owner}}) for b in found.blocks]
    return found.model_copy(update={"blocks": same})


def _measurement(request: Request, made: Sequence[LatencyBlock], absent: dict[str, str]) -> Measurement:
    commit, dirty = manifest.git_state()
    here = manifest.machine()
    versions = {name: version for name in _MEASURED if (version := _version(name))}
    return Measurement(
        command=request.command,
        settings=to_dict(request.latency),
        git_commit=commit,
        git_dirty=dirty,
        versions={"python": manifest.versions()["python"], **versions},
        device={
            "cpu_model": here["cpu_model"],
            "cpu_usable": here["cpu_usable"],
            "memory_bytes": here["memory_bytes"],
            "system": here["platform"],
            "chip": made[0].chip if made else None,
        },
        # Measuring processes never run with portable numerics.
        numerics=Numerics(mode="native"),
        finished_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        absent=absent,
    )


def _identity(encoder: EncoderConfig, latency: LatencyConfig) -> str:
    """Computes the fingerprint of all that a measured latency depends on: settings, machine and versions."""
    here = manifest.machine()
    found = {name: _version(name) for name in _MEASURED}
    machine = {name: here[name] for name in ("cpu_model", "cpu_usable")}
    return fingerprint(PROTOCOL_VERSION, latency, to_dict(encoder), found, machine)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _finished(path: Path, identity: str) -> Finished | None:
    """Reads the file of a system; None where there is none, or it is damaged or of other settings."""
    try:
        found = validated(Finished, strict_json(path.read_text(encoding="utf-8")), str(path), RecordError)
    except (OSError, ValueError):
        return None
    return found if found.identity == identity else None
