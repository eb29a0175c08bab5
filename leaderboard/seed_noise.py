"""Variances between the seeds of every system of a board, from its records and from repeated runs of its track."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from benchmark.statistics.intervals import Runs, Seeds, own_seeds
from benchmark.statistics.variance import pooled, shrunk

if TYPE_CHECKING:
    from benchmark.statistics.scales import Scale

# Students move alike, whoever proposed them; a teacher and an untrained control are of kinds of their own.
_GROUPS = {"found": "student", "baseline": "student"}


def seed_variances(
    runs: Mapping[str, Runs],
    systems: Mapping[str, str],
    scale: Scale,
    repeated: Mapping[str, Runs],
    kinds: Mapping[str, str],
) -> dict[str, Seeds]:
    """Estimates the variances between the seeds of every system, from its own runs and those of others of its kind.

    Where nothing is known of systems of its kind, all others stand in.

    Args:
        runs: the runs of each record, by id.
        systems: name of the system of each record.
        scale: of the metric.
        repeated: repeated runs of systems by name, each whole run in the place of a distillation; those of a record's
            own system count as its own.
        kinds: kind of each system, by name.
    """
    groups = {name: _GROUPS.get(kind, kind) for name, kind in kinds.items()}
    found = _estimated(runs, systems, scale, repeated, set(groups.values()), groups)
    for group in {groups[systems[name]] for name in runs}:
        alike = {name: own for name, own in runs.items() if groups[systems[name]] == group}
        for name, own in _estimated(alike, systems, scale, repeated, {group}, groups).items():
            there = found[name]
            found[name] = Seeds(
                own.finetune if own.finetune.known else there.finetune,
                own.distill if own.distill.known else there.distill,
                own.run if own.run.known else there.run,
            )
    return found


def _estimated(
    runs: Mapping[str, Runs],
    systems: Mapping[str, str],
    scale: Scale,
    repeated: Mapping[str, Runs],
    wanted: Collection[str],
    groups: Mapping[str, str],
) -> dict[str, Seeds]:
    """Pools and shrinks the variances of systems of some groups."""
    own = {name: own_seeds(one, scale) for name, one in runs.items()}
    whole = {name: own_seeds(one, scale) for name, one in repeated.items() if groups[name] in wanted}
    elsewhere = [whole[name] for name in whole if name not in {systems[one] for one in runs}]
    there = [whole.get(systems[name], Seeds()) for name in runs]
    both = [pooled([own[name].finetune, same.finetune]) for name, same in zip(runs, there, strict=True)]
    finetune = shrunk([*both, *(one.finetune for one in elsewhere)])[: len(runs)]
    distill = shrunk([one.distill for one in own.values()])
    run = shrunk([one.distill for one in (*there, *elsewhere)])[: len(runs)]
    return {name: Seeds(f, d, r) for name, f, d, r in zip(runs, finetune, distill, run, strict=True)}
