"""Comparable groups of latencies, tie groups and Pareto fronts.

Pure functions of records and numbers. Two latencies are compared only inside one `LatencyGroup`, two scores only where
task, split and metric are the same (`leaderboard.estimates.TaskKey`). Systems of the kinds in `CONTENDERS` are ranked
and stand on the front; teachers, untrained controls and published numbers are shown with them as points of reference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.records.record import LatencyBlock, Record, RecordError
from benchmark.search.pareto import non_dominated
from benchmark.statistics.pairs import LEVEL, Comparisons, compare

if TYPE_CHECKING:
    from leaderboard.estimates import Estimate

CONTENDERS = frozenset({"found", "baseline"})
_METHODS = ("measured", "compiled", "roofline", "reported")


@dataclass(frozen=True, order=True)
class LatencyGroup:
    """Conditions that must be equal before two latencies may be compared."""

    method: str
    chip: str
    batch_size: int
    sequence_length: int
    dtype: str
    runtime: str = ""
    threads: int = 0
    protocol_version: int = 0

    @classmethod
    def from_block(cls, block: LatencyBlock) -> LatencyGroup:
        """Returns the group of a latency block; '' and 0 stand for conditions that its method lacks."""
        shape = (block.method, block.chip, block.batch_size, block.sequence_length, block.dtype)
        return cls(*shape, block.runtime or "", block.threads or 0, block.protocol_version or 0)

    @property
    def key(self) -> str:
        """Short text that names the group in addresses and column names."""
        parts = [self.method, self.chip, f"b{self.batch_size}", f"l{self.sequence_length}", self.dtype, self.runtime]
        parts += [
            f"t{self.threads}" if self.threads else "",
            f"p{self.protocol_version}" if self.protocol_version else "",
        ]
        return ".".join(part for part in parts if part)


@dataclass(frozen=True)
class Place:
    """A rank that may be shared: one plus the number of systems that are better by more than noise."""

    rank: int
    tied: bool


def latency_blocks(record: Record) -> dict[LatencyGroup, LatencyBlock]:
    """Sorts the latency blocks of a record by group.

    Raises:
        RecordError: two blocks belong to the same group, so that neither is the system's latency.
    """
    blocks: dict[LatencyGroup, LatencyBlock] = {}
    for block in record.latency:
        group = LatencyGroup.from_block(block)
        if group in blocks:
            raise RecordError(f"{record.id}: latency: two blocks for {group.key}")
        blocks[group] = block
    return blocks


def latency_groups(records: Iterable[Record]) -> list[LatencyGroup]:
    """Lists all groups: most systems first, then measured before estimated, then by name."""
    counts = Counter(group for record in records for group in latency_blocks(record))
    return sorted(counts, key=lambda group: (-counts[group], _METHODS.index(group.method), group))


def group_reference(records: Iterable[Record], group: LatencyGroup) -> str | None:
    """Returns the most frequent reference of a group; speed-ups over another reference are not comparable."""
    blocks = (latency_blocks(record).get(group) for record in records)
    counts = Counter(block.reference for block in blocks if block and block.reference and block.speedup is not None)
    return min(counts, key=lambda name: (-counts[name], name)) if counts else None


def tie_places(scores: Mapping[str, Estimate], comparisons: Comparisons | None = None) -> dict[str, Place]:
    """Ranks systems, best first, with ties.

    The rank of a system is one plus the number of systems that are better: their mean over runs is higher, and the
    difference is significant at 5 % after Holm's correction for all pairs of the board. A system has no better rank
    than one whose mean is higher, so that noise helps nobody.

    Args:
        scores: the score of each system by id.
        comparisons: of their entries in this order, where they are at hand.

    Returns:
        The place of each system.
    """
    names = list(scores)
    found = comparisons or compare([scores[name].entry for name in names])
    better = ((found.adjusted < LEVEL) & (found.difference > 0.0)).sum(0)
    order = sorted(range(len(names)), key=lambda index: (-scores[names[index]].entry.mean, names[index]))
    ranks, least = {}, 1
    for index in order:
        least = max(least, 1 + int(better[index]))
        ranks[names[index]] = least
    shared = Counter(ranks.values())
    return {name: Place(rank, shared[rank] > 1) for name, rank in ranks.items()}


def pareto_front(points: Mapping[str, tuple[float | None, float | None]]) -> list[str]:
    """Lists the systems that no other one dominates, in order of rising cost.

    One system dominates another when its cost is not higher and its score not lower, and one of the two is better.
    Systems that are equal in both are on the front together.

    Args:
        points: (cost, score) of each system by id; a system without one of them cannot be placed and is left out.

    Returns:
        Ids of the front.
    """
    known = {name: (score, cost) for name, (cost, score) in points.items() if cost is not None and score is not None}
    members = non_dominated(list(known.values()))
    front = [name for name, member in zip(known, members, strict=True) if member]
    return sorted(front, key=lambda name: (known[name][1], -known[name][0], name))
