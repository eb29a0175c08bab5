"""Latencies of published architectures by a TPU's own compiler, where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.config import ChipConfig, ConfigError, EncoderConfig
from benchmark.hardware.chips import shipped
from benchmark.hardware.compiled import versions
from benchmark.hardware.estimates import LatencyFailure, known_latency
from benchmark.records.record import LatencyBlock
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from baselines.measured_latency import Request


@dataclass(frozen=True)
class _Target:
    chip: ChipConfig
    batch_size: int
    sequence_length: int
    latency_methods: tuple[str, ...] = ("compiled",)


def compiled_latencies(
    encoders: Mapping[str, EncoderConfig], request: Request, progress: Callable[[str], None]
) -> tuple[dict[str, list[LatencyBlock]], dict[str, dict[str, str]]]:
    """Compiles the architectures for each chip.

    Roofline estimates do not take its place: they rank within a family of architectures only (docs/hardware.md).

    Args:
        encoders: architectures by name.
        request: chips, shape and folder.
        progress: receives progress lines.

    Returns:
        Latency blocks by system, and by system the reasons why a chip has none.
    """
    made: dict[str, list[LatencyBlock]] = {name: [] for name in encoders}
    absent: dict[str, dict[str, str]] = {name: {} for name in encoders}
    for chip in (shipped()[name] for name in request.chips):
        try:
            if not versions()["libtpu"]:
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
