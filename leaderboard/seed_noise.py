"""Variances between the seeds of every system of a board, from its records and from repeated runs of its track."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from benchmark.statistics.intervals import Runs, Seeds, own_seeds
from benchmark.statistics.variance import pooled, shrunk

if TYPE_CHECKING:
    from benchmark.statistics.scales import Scale


def seed_variances(
    runs: Mapping[str, Runs], systems: Mapping[str, str], scale: Scale, repeated: Mapping[str, Runs]
) -> dict[str, Seeds]:
    """Estimates the variances between the seeds of every system, each from its own runs and those of all others.

    Args:
        runs: the runs of each record, by id.
        systems: name of the system of each record.
        scale: of the metric.
        repeated: repeated runs of systems by name, each whole run in the place of a distillation; those of a record's
            own system count as its own.
    """
    own = {name: own_seeds(one, scale) for name, one in runs.items()}
    whole = {name: own_seeds(one, scale) for name, one in repeated.items()}
    elsewhere = [whole[name] for name in whole if name not in systems.values()]
    there = [whole.get(systems[name], Seeds()) for name in runs]
    both = [pooled([own[name].finetune, same.finetune]) for name, same in zip(runs, there, strict=True)]
    finetune = shrunk([*both, *(one.finetune for one in elsewhere)])[: len(runs)]
    distill = shrunk([one.distill for one in own.values()])
    run = shrunk([one.distill for one in (*there, *elsewhere)])[: len(runs)]
    parts = zip(runs, finetune, distill, run, strict=True)
    return {name: Seeds(f, d, r) for name, f, d, r in parts}
