"""Latencies of published architectures here, beside their published scores: `python -m baselines measure --to=DIR`.

```
latency/NAME.json    measured latencies of a system, and their circumstances
latency/group/       samples of the group in progress; removed with it
estimates/           figures of the TPU's compiler
results/NAME.json    the records, of kind `reported`
```
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.compiled_latency import compiled_latencies
from baselines.measured_latency import Request, inputs, measured_latencies, served
from baselines.reported import record
from benchmark.config import EncoderConfig, LatencyConfig
from benchmark.hardware.chips import refuse_impossible, shipped
from benchmark.records.record import read, write
from tasks.system.errors import InputError, nearest_match_hint
from tasks.system.file_lock import builder_lock

if TYPE_CHECKING:
    from baselines.catalogue import Baseline


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
        InputError: see `check_request`; or an architecture cannot take inputs of this length.
        StageError: a measurement failed; the same command continues.
    """
    check_request(request)
    encoders = {name: served(b.encoder) for name, b in baselines.items() if b.encoder is not None}
    with builder_lock(request.folder, lambda: progress(f"waiting for another command in {request.folder}")):
        rows = inputs(encoders, request.latency)
        found = measured_latencies(encoders, rows, request, progress)
        compiled, absent = compiled_latencies(encoders, request, progress)
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
