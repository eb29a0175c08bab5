"""The averages over GLUE that papers and leaderboards use, as data.

They differ in tasks, MNLI sets and metrics, so a number without the name of its average means little; each of them has
an id here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from tasks.system.errors import DataError, nearest_match_hint

Scores = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Average:
    """An average over GLUE."""

    # Its name in records and on the board.
    id: str
    # The parts of the unweighted mean; each is the unweighted mean of (task, metric) pairs.
    groups: tuple[tuple[tuple[str, str], ...], ...]
    # Its users and its definition.
    description: str


def _parse_groups(*entries: str) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Reads groups written as `task/metric` or `task/metric+task/metric`."""
    groups = []
    for entry in entries:
        pairs = [part.split("/") for part in entry.split("+")]
        groups.append(tuple((f"glue_{task}_v1", metric) for task, metric in pairs))
    return tuple(groups)


_SAME_EVERYWHERE = ("cola/matthews", "sst2/accuracy", "qnli/accuracy", "rte/accuracy")
_PAIRS_AVERAGED = (
    *_SAME_EVERYWHERE,
    "mrpc/f1+mrpc/accuracy",
    "stsb/pearson+stsb/spearman",
    "qqp/f1+qqp/accuracy",
    "mnli_matched/accuracy+mnli_mismatched/accuracy",
)

AVERAGES: Mapping[str, Average] = MappingProxyType(
    {
        average.id: average
        for average in (
            Average(
                id="official9",
                groups=_parse_groups(*_PAIRS_AVERAGED, "wnli/accuracy"),
                description="GLUE leaderboard: 9 tasks with WNLI, metric pairs and the two MNLI sets averaged first",
            ),
            Average(
                id="col9",
                groups=_parse_groups(
                    *_SAME_EVERYWHERE,
                    "mnli_matched/accuracy",
                    "mnli_mismatched/accuracy",
                    "qqp/f1",
                    "stsb/spearman",
                    "mrpc/f1",
                ),
                description="BERT and TinyBERT papers: 9 columns, both MNLI sets, F1 for QQP and MRPC, no WNLI",
            ),
            Average(
                id="task8_m",
                groups=_parse_groups(
                    *_SAME_EVERYWHERE, "mnli_matched/accuracy", "qqp/accuracy", "stsb/spearman", "mrpc/accuracy"
                ),
                description="NAS-BERT: 8 tasks, matched MNLI only, accuracy for QQP and MRPC, no WNLI",
            ),
            Average(
                id="dev9_wnli",
                groups=_parse_groups(
                    *_SAME_EVERYWHERE,
                    "mnli_matched/accuracy",
                    "qqp/accuracy",
                    "stsb/pearson",
                    "mrpc/f1",
                    "wnli/accuracy",
                ),
                description="DistilBERT: 9 tasks with WNLI on the development sets, one number each",
            ),
            Average(
                id="t5_8",
                groups=_parse_groups(*_PAIRS_AVERAGED),
                description="T5: 8 tasks without WNLI, metric pairs and the two MNLI sets averaged first",
            ),
        )
    }
)


def average(average_id: str, scores: Scores) -> float:
    """Averages scores over GLUE.

    Args:
        average_id: a key of `AVERAGES`.
        scores: task name -> metric -> percent, as `score` gives them.

    Returns:
        The average, in percent.

    Raises:
        DataError: if there is no such average, or a score that it needs is missing (the message names all of them).
    """
    if average_id not in AVERAGES:
        raise DataError(f"unknown average '{average_id}': {nearest_match_hint(average_id, AVERAGES)}")
    groups = AVERAGES[average_id].groups
    needed = [pair for group in groups for pair in group]
    if missing := [f"{task}/{metric}" for task, metric in needed if metric not in scores.get(task, {})]:
        raise DataError(f"average '{average_id}' needs {', '.join(missing)} too")
    return float(np.mean([np.mean([scores[task][metric] for task, metric in group]) for group in groups]))


def averages(scores: Scores) -> dict[str, float]:
    """Computes every average whose scores are complete.

    Args:
        scores: task name -> metric -> percent.

    Returns:
        Average id -> percent.
    """
    complete = (
        entry.id
        for entry in AVERAGES.values()
        if all(metric in scores.get(task, {}) for group in entry.groups for task, metric in group)
    )
    return {average_id: average(average_id, scores) for average_id in complete}
