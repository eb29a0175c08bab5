"""Latencies of published architectures here, beside their published scores: `python -m baselines measure --to=DIR`.

Systems are measured in groups: a group shares the processes that load the reference, and large models are spread over
the groups. What a group found is kept in one file for each system, so that a killed command continues with the systems
that are not finished. Architectures that run the same program are measured once.

```
latency/NAME.json    latencies of a system, and their circumstances
latency/group/       samples of the group in progress; removed with it
estimates/           figures of the TPU's compiler
results/NAME.json    the records, of kind `reported`
```
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.reported import record
from benchmark.config import ChipConfig, ConfigError, EncoderConfig, LatencyConfig, fingerprint, to_dict
from benchmark.hardware.chips import refuse_impossible, shipped
from benchmark.hardware.compiled import versions as compiler_versions
from benchmark.hardware.estimates import LatencyFailure, known_latency
from benchmark.latency.inputs import embedded_rows
from benchmark.latency.measure import PROTOCOL_VERSION, measure
from benchmark.latency.onnx_graphs import graph_file
from benchmark.latency.results import blocks
from benchmark.models.formulas import num_parameters
from benchmark.records import manifest
from benchmark.records.record import LatencyBlock, Measurement, Numerics, RecordError, read, write
from benchmark.records.strict_schema import StrictModel, strict_json, validated
from tasks.system.atomic_write import write_text
from tasks.system.errors import InputError, StageError, nearest_match_hint
from tasks.system.file_lock import builder_lock

if TYPE_CHECKING:
    from baselines.catalogue import Baseline

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


@dataclass(frozen=True)
class _Target:
    chip: ChipConfig
    batch_size: int
    sequence_length: int
    latency_methods: tuple[str, ...] = ("compiled",)


def latency_config(
    name: str,
    reference: EncoderConfig,
    *,
    runtimes: tuple[str, ...] = ("xla", "onnxruntime"),
    batch_size: int = 1,
    sequence_length: int = 128,
    processes: int = 3,
    seconds: float = 2.0,
) -> LatencyConfig:
    """Makes the settings of the measurement: one shape, and no refusal because of noise, which the page shows instead.

    Args:
        name: name of the reference.
        reference: its architecture.
        runtimes: what runs the models.
        batch_size: sequences of a call.
        sequence_length: their length.
        processes: fresh processes for each group and runtime.
        seconds: time of a system in a process, alternating with the reference; up to twice as long for slow ones.

    Raises:
        ConfigError: a value that LatencyConfig refuses.
    """
    return LatencyConfig(
        reference=served(reference),
        reference_name=name,
        runtimes=runtimes,
        batch_sizes=(batch_size,),
        sequence_lengths=(sequence_length,),
        processes=processes,
        max_processes=processes,
        headline_factor=1,
        min_seconds=seconds,
        max_seconds=2 * seconds,
        max_call_seconds=60.0,
        max_noise_floor=1000.0,
        max_other_cores=1000.0,
        energy_seconds=0.0,
        timeout_s=3600.0,
    )


def choose(known: Mapping[str, Baseline], names: Sequence[str]) -> dict[str, Baseline]:
    """Chooses baselines by name; all of them where no name is given.

    Raises:
        InputError: a name is not known.
    """
    for name in names:
        if name not in known:
            raise InputError(f"--systems={name}: {nearest_match_hint(name, known)}")
    return {name: known[name] for name in names or known}


def choose_reference(known: Mapping[str, Baseline], name: str) -> EncoderConfig:
    """Returns the architecture of the reference.

    Raises:
        InputError: the name is not known, or the baseline has no architecture.
    """
    able = {key: baseline.encoder for key, baseline in known.items() if baseline.encoder is not None}
    if name not in able:
        raise InputError(
            f"--reference={name}: a baseline with an architecture is expected: {nearest_match_hint(name, able)}"
        )
    return able[name]


def check_request(request: Request) -> None:
    """Refuses unknown chips, chips without a compiler, and folders that hold records of another kind.

    Raises:
        InputError: one line.
    """
    compilable = {name for name, chip in shipped().items() if chip.topology and chip.clock_hz}
    for name in request.chips:
        if name not in compilable:
            raise InputError(
                f"--chips={name}: a chip with a compiler is expected: {nearest_match_hint(name, compilable)}"
            )
    for path in sorted((request.folder / "results").glob("*.json")):
        if read(path).system.kind != "reported":
            raise InputError(f"--to={request.folder}: expected a folder of its own, but {path} is the record of a run")


def measure_published(
    baselines: Mapping[str, Baseline], request: Request, progress: Callable[[str], None]
) -> list[Path]:
    """Measures and compiles the architectures of baselines, and writes a record of each.

    Args:
        baselines: by name; those without an architecture get a record of their published numbers alone.
        request: what to do.
        progress: receives progress lines.

    Returns:
        The records' files.

    Raises:
        InputError: see `check_request`.
        StageError: a measurement failed; the same command continues.
    """
    check_request(request)
    encoders = {name: served(b.encoder) for name, b in baselines.items() if b.encoder is not None}
    refuse_short(encoders, request.latency)
    with builder_lock(request.folder, lambda: progress(f"waiting for another command in {request.folder}")):
        found = _measured(encoders, request, progress)
        compiled, absent = _compiled(encoders, request, progress)
        paths = []
        for name, baseline in baselines.items():
            own = found.get(name)
            measurement, latency = None, []
            if own is not None:
                reasons = own.measurement.absent | absent.get(name, {})
                measurement = own.measurement.model_copy(update={"absent": reasons})
                latency = [*own.blocks, *compiled.get(name, [])]
                refuse_impossible(encoders[name], latency)
            made = record(baseline, request.latency.sequence_lengths[0], latency, measurement)
            paths.append(request.folder / "results" / f"{name}.json")
            write(paths[-1], made)
    return paths


def served(encoder: EncoderConfig) -> EncoderConfig:
    """Returns the architecture with the fields that its serving program does not depend on at fixed values."""
    return dataclasses.replace(encoder, initializer_range=0.02, position_initializer="normal", pooler="none")


def refuse_short(encoders: Mapping[str, EncoderConfig], latency: LatencyConfig) -> None:
    """Refuses a length that an architecture cannot take, before anything is measured.

    Raises:
        InputError: names the system and its limit.
    """
    length = latency.sequence_lengths[0]
    for name, encoder in encoders.items():
        if length > encoder.max_position_embeddings:
            limit = f"max_position_embeddings = {encoder.max_position_embeddings}"
            raise InputError(f"--sequence_length={length}: at most {limit} of {name} is expected")


def groups(encoders: Mapping[str, EncoderConfig]) -> list[list[str]]:
    """Divides systems into groups of at most `GROUP`, so that those with many parameters are in different ones."""
    ordered = sorted(encoders, key=lambda name: (-num_parameters(encoders[name]), name))
    count = -(-len(ordered) // GROUP)
    return [ordered[first::count] for first in range(count)]


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


def _measured(
    encoders: Mapping[str, EncoderConfig], request: Request, progress: Callable[[str], None]
) -> dict[str, Finished]:
    """Measures the systems that are not finished, and returns the latencies of all."""
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
    if waiting:
        rows = embedded_rows(
            latency.sequence_lengths, min(e.vocab_size for e in encoders.values()), latency.seed, folder / "group"
        )
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
        shutil.rmtree(folder / "group", ignore_errors=True)
        _remove_graphs(folder / "graphs", keep=latency.reference if number < len(waiting) else None)
    return {name: _shared(found[first[encoder]], first[encoder], name) for name, encoder in encoders.items()}


def _remove_graphs(folder: Path, keep: EncoderConfig | None) -> None:
    """Removes exported graphs, which are as large as their models, except that of the reference."""
    if keep is None:
        shutil.rmtree(folder, ignore_errors=True)
        return
    kept = graph_file(folder, keep)
    for path in folder.glob("*"):
        if path != kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


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


def _compiled(
    encoders: Mapping[str, EncoderConfig], request: Request, progress: Callable[[str], None]
) -> tuple[dict[str, list[LatencyBlock]], dict[str, dict[str, str]]]:
    """Compiles the architectures for each chip; returns blocks, and reasons why there are none, by system."""
    made: dict[str, list[LatencyBlock]] = {name: [] for name in encoders}
    absent: dict[str, dict[str, str]] = {name: {} for name in encoders}
    for chip in (shipped()[name] for name in request.chips):
        try:
            if not compiler_versions()["libtpu"]:
                raise StageError("libtpu is not installed; pip install -e '.[tpu]', then run the same command again")
            target = _Target(chip, request.latency.batch_sizes[0], request.latency.sequence_lengths[0])
            progress(f"compiling {len(set(encoders.values()))} architectures for {chip.name}")
            known = known_latency(target, request.folder / "estimates", lambda _: None)
            estimates = known.exact(list(encoders.values()))
        except (ConfigError, StageError) as error:
            progress(f"not compiled for {chip.name}: {error}")
            absent = {name: reasons | {chip.name: str(error)} for name, reasons in absent.items()}
            continue
        for name, estimate in zip(encoders, estimates, strict=True):
            if isinstance(estimate, LatencyFailure):
                absent[name][chip.name] = estimate.reason
                progress(f"{name}: {estimate.reason}")
                continue
            made[name].append(
                LatencyBlock(
                    method="compiled",
                    chip=chip.name,
                    batch_size=target.batch_size,
                    sequence_length=target.sequence_length,
                    dtype=chip.dtype,
                    latency_s=estimate.latency_s,
                    details=dict(estimate.details),
                )
            )
    return made, absent
