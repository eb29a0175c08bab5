"""The chips with shipped figures, and the refusal of latencies that no chip could reach."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.config import ChipConfig, EncoderConfig
from benchmark.hardware.roofline import latency_floor
from tasks.system.errors import InputError, StageError
from tasks.system.repository import REPOSITORY

if TYPE_CHECKING:
    from benchmark.records.record import LatencyBlock

FOLDER = REPOSITORY / "gin" / "hardware"


def read_chip(path: Path) -> ChipConfig:
    """Reads a chip's gin file as data: lines `scope/ChipConfig.FIELD = LITERAL` and comments, without gin.

    Raises:
        ConfigError: a value that ChipConfig refuses.
        InputError: another kind of line; the message names the file and the line.
    """
    values: dict[str, Any] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, equals, literal = line.partition(" = ")
        owner, _, field = name.strip().rpartition(".")
        if not equals or owner.rpartition("/")[2] != "ChipConfig":
            raise InputError(f"{path}:{number}: {line.strip()[:80]!r}: expected NAME/ChipConfig.FIELD = VALUE")
        values[field] = ast.literal_eval(literal.strip())
    return ChipConfig(**values)


@functools.cache
def shipped() -> Mapping[str, ChipConfig]:
    """Returns all chips under gin/hardware/, by name."""
    chips = [read_chip(path) for path in sorted(FOLDER.glob("*.gin"))]
    return {chip.name: chip for chip in chips}


def refuse_impossible(encoder: EncoderConfig, blocks: Iterable[LatencyBlock]) -> None:
    """Refuses latencies below the time of the matrix products alone at the chip's peak.

    Chips without shipped figures are not checked, nor are types other than that of the figures.

    Raises:
        StageError: one line that names chip, method, latency and floor.
    """
    for block in blocks:
        chip = shipped().get(block.chip)
        if chip is None or block.method == "roofline" or block.dtype != chip.dtype:
            continue
        least = latency_floor(encoder, chip, block.batch_size, block.sequence_length)
        if block.latency_s < least:
            shape = f"batch {block.batch_size}, length {block.sequence_length}"
            raise StageError(
                f"latency_s = {block.latency_s:.3g} ({block.method}, {chip.name}, {shape}): expected at least "
                f"{least:.3g}, the matrix products at the chip's peak"
            )
