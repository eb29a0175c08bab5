"""Programs and their calls: the terms in which the work of a run is counted, and its time and memory forecast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig

# Kinds of programs that train; the others run a model forward.
TRAINING = ("pretrain", "distill", "finetune", "distill_task")


@dataclass(frozen=True)
class Program:
    """What decides the cost of a compiled program.

    Attributes:
        kind: one of `TRAINING`, or `teacher` (its outputs), `evaluate`, `predict`, `mask`, `inference`.
        encoder: the architecture that it computes.
        batch_size: rows of a call.
        length: columns of a row.
        variant: what else tells programs apart: the phase of a recipe, the head of a task, a measuring process.
        teacher: the architecture of the teacher in the same program.
    """

    kind: str
    encoder: EncoderConfig
    batch_size: int
    length: int
    variant: str = ""
    teacher: EncoderConfig | None = None


@dataclass(frozen=True)
class Calls:
    """Calls of a program.

    Attributes:
        program: the program.
        count: number of calls; an expected one where it depends on scores.
        at_least: seconds that they take at least, where they are timed instead of counted.
        at_most: seconds that they take at most.
        kept_bytes: memory that keeps the results of all calls.
    """

    program: Program
    count: float
    at_least: float = 0.0
    at_most: float = math.inf
    kept_bytes: float = 0.0


@dataclass(frozen=True)
class Job:
    """Work that one thread does: its calls, and `overhead` in seconds of the machine that costs were fitted on."""

    name: str
    calls: tuple[Calls, ...]
    overhead: float = 0.0


@dataclass(frozen=True)
class StageWork:
    """What is left of a stage.

    Attributes:
        stage: its name.
        text: the work in words; 'done' where nothing is left.
        jobs: in the order in which threads take them.
        workers: threads.
        first: jobs that come before the others, one after the other.
    """

    stage: str
    text: str
    jobs: tuple[Job, ...] = ()
    workers: int = 1
    first: tuple[Job, ...] = ()

    @property
    def every_job(self) -> tuple[Job, ...]:
        """All jobs in order."""
        return self.first + self.jobs
