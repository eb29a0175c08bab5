"""Chips as data: the figures that estimates of latency are made from."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.settings import Checked, setting


@dataclass(frozen=True, kw_only=True)
class ChipConfig(Checked):
    """Figures of one chip for the roofline estimate; every shipped file under gin/hardware/ names their sources.

    `tile` is the granularity to which each axis of a matrix product is padded; `op_overhead_s` the fixed cost of one
    operation. `memory_bytes` and `clock_hz` are for programs that are compiled ahead of time (0: not known); no result
    depends on them.
    """

    name: str = setting("cpu_2core")
    peak_flops: float = setting(1e11, at_least=1.0)
    memory_bandwidth: float = setting(1e10, at_least=1.0)
    on_chip_bytes: float = setting(0.0, at_least=0.0)
    on_chip_bandwidth: float = setting(1e11, at_least=1.0)
    tile: int = setting(1, at_least=1)
    op_overhead_s: float = setting(0.0, at_least=0.0)
    bytes_per_value: int = setting(4, at_least=1, at_most=8)
    memory_bytes: float = setting(0.0, at_least=0.0, changes_results=False)
    clock_hz: float = setting(0.0, at_least=0.0, changes_results=False)
