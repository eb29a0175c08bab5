"""Cycles that XLA's TPU compiler expects a program to take, added up over its loops.

The compiler notes `estimated_cycles` on operations of the optimised program, once for a loop body. Operations
without a note are not in the sum: collectives, copies between memories, and scalar operations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tasks.system.errors import StageError

_HEAD = re.compile(r"^(ENTRY )?%(\S+) \(.*\{$")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_WHILE = re.compile(r" while\(.*\bcondition=%([^\s,]+), body=%([^\s,]+)")
_CALL = re.compile(r" (?:call|async-start)\(.*\b(?:to_apply|calls)=%([^\s,]+)")
_BRANCHES = re.compile(r" conditional\(.*\bbranch_computations=\{([^}]*)\}")
_TWO_BRANCHES = re.compile(r" conditional\(.*\btrue_computation=%([^\s,]+), false_computation=%([^\s,]+)")
_CONSTANT = re.compile(r"%(\S+) = s32\[\]\S* constant\((\d+)\)")
_COMPARE = re.compile(r"ROOT .* compare\(%\S+, %([^\s,)]+)\), direction=LT")


@dataclass
class _Computation:
    lines: list[str] = field(default_factory=list)
    is_entry: bool = False


def _computations(text: str) -> dict[str, _Computation]:
    found: dict[str, _Computation] = {}
    current = None
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            current = found.setdefault(head[2], _Computation(is_entry=bool(head[1])))
        elif line.startswith("}"):
            current = None
        elif current is not None:
            current.lines.append(line)
    return found


def _loop_rounds(name: str, condition: _Computation) -> int:
    """Returns the rounds of a loop that counts up from 0, as those of `jax.lax.scan` do: `counter < constant`."""
    constants = {m[1]: int(m[2]) for line in condition.lines for m in [_CONSTANT.search(line)] if m}
    for line in condition.lines:
        compared = _COMPARE.search(line)
        if compared and compared[1] in constants:
            return constants[compared[1]]
    raise StageError(f"the number of rounds of a loop is not known; its condition is {name}")


def _called_computations(line: str, found: dict[str, _Computation]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yields the computations that an operation runs: alternatives, of which one is run, and how often."""
    loop = _WHILE.search(line)
    if loop:
        yield (loop[2],), _loop_rounds(loop[1], found[loop[1]])
    elif call := _CALL.search(line):
        yield (call[1],), 1
    elif branches := _BRANCHES.search(line):
        yield tuple(name.strip().removeprefix("%") for name in branches[1].split(",")), 1
    elif two := _TWO_BRANCHES.search(line):
        yield (two[1], two[2]), 1


def estimated_cycles(text: str) -> int:
    """Adds up the cycles of an optimised program.

    A loop counts once for each round; of the branches of a conditional the longest counts. A fused operation has its
    own number.

    Args:
        text: the program, as `compiled.as_text()` gives it.

    Returns:
        Cycles of one device.

    Raises:
        StageError: a loop that does not count up to a constant.
        ValueError: the text holds no program, or no estimates.
    """
    found = _computations(text)
    entry = next((name for name, computation in found.items() if computation.is_entry), None)
    if entry is None:
        raise ValueError("no optimised program: no ENTRY computation in it")
    if not _CYCLES.search(text):
        raise ValueError("the compiler noted no estimated_cycles in this program")
    known: dict[str, int] = {}

    def cycles(name: str) -> int:
        if name not in known:
            known[name] = sum(
                sum(int(number) for number in _CYCLES.findall(line))
                + sum(rounds * max(map(cycles, names)) for names, rounds in _called_computations(line, found))
                for line in found[name].lines
            )
        return known[name]

    return cycles(entry)
