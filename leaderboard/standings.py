"""How the systems of a board stand to each other by every score: places, what can be resolved, and tests of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.statistics.pairs import compare, resolution
from leaderboard.pairing import covariances
from leaderboard.rank import CONTENDERS, tie_places

if TYPE_CHECKING:
    from benchmark.records.record import Record
    from leaderboard.estimates import Estimate
    from leaderboard.pairing import Pairs

# Boards of more systems have no tests of single pairs, whose number grows with the square of it.
_TESTED_SYSTEMS = 60


@dataclass(frozen=True)
class Standing:
    """The systems of a board by one score.

    Attributes:
        places: id of a contender -> rank, and whether it is shared.
        resolution: smallest difference of contenders that the board can resolve, in percentage points; None for fewer
            than two.
        tests: `ids` of all systems with the score and, of every pair in their order, `p`: the probability that equal
            systems differ as much, None where nothing is known of the noise. No correction for several pairs, as a
            reader compares two. None for a board of many systems.
    """

    places: dict[str, list[Any]]
    resolution: float | None
    tests: dict[str, Any] | None


def standings(
    records: Sequence[Record],
    scores: Mapping[str, Mapping[str, Estimate]],
    keys: Sequence[str],
    pairs: Pairs,
    averaged: Mapping[str, Sequence[str]],
) -> dict[str, Standing]:
    """Compares the systems of a board by every score.

    Args:
        records: the records of one track.
        scores: as `leaderboard.estimates.estimates` gives them.
        keys: names of scores.
        pairs: influences of single examples, by record and task.
        averaged: the tasks that make a score, by whose examples systems are paired; none for other scores.

    Returns:
        Name of a score -> how the systems stand.
    """
    return {key: _standing(records, scores, key, pairs, averaged.get(key, ())) for key in keys}


def _standing(
    records: Sequence[Record],
    scores: Mapping[str, Mapping[str, Estimate]],
    key: str,
    pairs: Pairs,
    tasks: Sequence[str],
) -> Standing:
    having = {record.id: scores[record.id][key] for record in records if key in scores[record.id]}
    contenders = {r.id: having[r.id] for r in records if r.system.kind in CONTENDERS and r.id in having}
    covariance = covariances([pairs.get(name, {}) for name in contenders], tasks)
    comparisons = compare([estimate.entry for estimate in contenders.values()], covariance)
    places = tie_places(contenders, comparisons)
    tests = _tests(having, pairs, tasks) if len(records) <= _TESTED_SYSTEMS else None
    shown = {name: [place.rank, place.tied] for name, place in places.items()}
    return Standing(shown, resolution(comparisons), tests)


def _tests(having: Mapping[str, Estimate], pairs: Pairs, tasks: Sequence[str]) -> dict[str, Any]:
    covariance = covariances([pairs.get(name, {}) for name in having], tasks)
    found = compare([estimate.entry for estimate in having.values()], covariance)
    couples = [(i, j) for i in range(len(having)) for j in range(i + 1, len(having))]
    known = [round(float(found.p[i, j]), 4) if found.known[i, j] else None for i, j in couples]
    return {"ids": list(having), "p": known}
