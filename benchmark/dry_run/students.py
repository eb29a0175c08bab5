"""The students of a run before its search has found any: found ones are taken as the middle of the space."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.config.distillation import replicate_name
from benchmark.models.formulas import forward_flops, num_parameters
from benchmark.search.problem import ENUMERABLE
from benchmark.search.space import decode, enumerate_points, searched_fields

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig, RunConfig, SearchConfig


@dataclass(frozen=True)
class Student:
    """A system of a run.

    Attributes:
        name: its name; that of a student which is not found yet is made up.
        kind: as in a `SystemPlan`.
        encoder: its architecture, or the typical one of the search.
        distill_seed: as in a `SystemPlan`: None for a published checkpoint, the teacher and the untrained control.
    """

    name: str
    kind: str
    encoder: EncoderConfig
    distill_seed: int | None = None

    @property
    def is_distilled(self) -> bool:
        """Whether it is distilled."""
        return self.distill_seed is not None


@functools.lru_cache(maxsize=4)
def typical_trial(search: SearchConfig) -> EncoderConfig:
    """Chooses the architecture that stands for a trial: the middle one of the space by FLOPs, within its size limit."""
    space = search.space
    if math.prod(len(getattr(space, name)) for name in searched_fields(space)) > ENUMERABLE:
        return search.attach[0] if search.attach else space.base
    encoders = [decode(space, point) for point in enumerate_points(space)]
    fitting = [e for e in encoders if not search.max_parameters or num_parameters(e) <= search.max_parameters]
    # Equal FLOPs are ordered by the number of parameters, so that the choice depends on the values alone.
    ordered = sorted(fitting or encoders, key=lambda e: (forward_flops(e, 1, 128), num_parameters(e)))
    return ordered[len(ordered) // 2]


def students_of(config: RunConfig, found: Mapping[str, EncoderConfig]) -> list[Student]:
    """Lists the students in the order of the run: found ones, baselines, the untrained control.

    A student is there once for each of `DistillConfig.seeds`.

    Args:
        config: the settings.
        found: the found students by name; empty before the search has ended.
    """
    students = []
    if config.search is not None:
        names = found or {f"found {n + 1}": typical_trial(config.search) for n in range(config.search.num_found)}
        students = [Student(name, "found", encoder, 0) for name, encoder in names.items()]
    students += [Student(b.name, "baseline", b.architecture, 0 if b.is_distilled else None) for b in config.baselines]
    if config.untrained_control:
        twin = next((s for s in students if config.untrained_control in (s.name, s.kind)), None)
        if twin is not None:
            students.append(Student("untrained", "control", twin.encoder))
    return [one for student in students for one in _replicates(config, student)]


def _replicates(config: RunConfig, student: Student) -> list[Student]:
    if not student.is_distilled or config.distill is None:
        return [student]
    seeds = config.distill.seeds
    return [dataclasses.replace(student, name=replicate_name(student.name, s), distill_seed=s) for s in seeds]


def systems_of(config: RunConfig, found: Mapping[str, EncoderConfig]) -> list[Student]:
    """Lists all systems of a run: the teacher, and the students as `students_of` has them."""
    teacher = [] if config.teacher is None else [Student("teacher", "teacher", config.teacher.architecture)]
    return [*teacher, *students_of(config, found)]
