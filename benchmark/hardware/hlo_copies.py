"""Time that an optimised TPU program waits for copies between memories.

The compiler copies parameters to the memory on the chip while earlier operations run, and notes no cycles on copies.
In this model they run one after the other, in the order of their start, at the bandwidth of main memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_OPERATION = re.compile(r"\s*(?:ROOT )?%(\S+) = (\(.*?\)|\S+) ([a-z-]+)\((?:%([^,)\s]+))?")
_SHAPE = re.compile(r"\b([a-z]+\d+)\[([\d,]*)\]")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
# Operations that only name or regroup values.
_FREE = {"parameter", "bitcast", "get-tuple-element", "tuple", "constant"}


@dataclass(frozen=True)
class Copies:
    """The costs of the copies of a program.

    Attributes:
        bytes: copied while the program runs.
        prefetched_bytes: copied before, at the end of the program before it.
        waiting_cycles: cycles that operations wait for copies to arrive.
        unestimated: number of operations without an estimate that are neither copies nor free of work.
    """

    bytes: int
    prefetched_bytes: int
    waiting_cycles: int
    unestimated: int


def _bytes(kind: str, sizes: str) -> int:
    count = 1
    for size in filter(None, sizes.split(",")):
        count *= int(size)
    return count * int(re.sub(r"\D", "", kind)) // 8


def _copied_bytes(result: str) -> int:
    """Returns the bytes that a started copy or slice moves: the smaller of its arrays, the token aside."""
    arrays = [_bytes(*found) for found in _SHAPE.findall(result)]
    return min(arrays[:2]) if len(arrays) > 1 else sum(arrays)


def copies(text: str, bytes_per_cycle: float) -> Copies:
    """Follows the scheduled operations of a program's entry; copies inside loops are not modelled.

    Args:
        text: the program, as `compiled.as_text()` gives it; its order is the order of execution.
        bytes_per_cycle: bandwidth of main memory.

    Raises:
        ValueError: the text holds no program.
    """
    lines = iter(text.splitlines())
    if not any(line.startswith("ENTRY ") for line in lines):
        raise ValueError("no optimised program: no ENTRY computation in it")
    now = channel = waited = 0.0
    arrival: dict[str, float] = {}
    moved = prefetched = unestimated = 0
    for line in lines:
        found = _OPERATION.match(line)
        if not found:
            continue
        name, result, operation, first = found.groups()
        estimate = _CYCLES.search(line)
        if estimate:
            now += int(estimate[1])
        elif operation.endswith("-start"):
            size = _copied_bytes(result)
            if "cross_program_prefetch_index" in line:
                prefetched += size
                continue
            moved += size
            channel = max(channel, now) + size / bytes_per_cycle
            arrival[name] = channel
        elif operation.endswith("-done"):
            late = max(0.0, arrival.get(first, 0.0) - now)
            waited += late
            now += late
        elif operation not in _FREE and "ConcatBitcast" not in line:
            unestimated += 1
    return Copies(moved, prefetched, round(waited), unestimated)
