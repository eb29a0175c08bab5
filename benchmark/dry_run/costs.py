"""Seconds of programs: formulas of the shapes, scaled to what a calibration of this machine measured.

A formula says how the cost of a program depends on its shapes: matrix products at a rate, a fixed time for each
operation of a layer, and the optimizer's time for each parameter. Its constants are those of the machine of
docs/performance.md; a calibration measures a few programs of the run, and every other program is scaled by the ratio
of the measured one that is most like it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.dry_run.programs import TRAINING, Calls, Program
from benchmark.models.formulas import forward_flops, masked_lm_head_flops, matrix_products, parameter_counts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmark.config import EncoderConfig
    from benchmark.dry_run.programs import Job, StageWork

# FLOP/s of matrix products; seconds of an operation, of a value that a train step computes and keeps, of the optimizer
# for a parameter, and of a call.
RATE, OPERATION, VALUE, PARAMETER, CALL = 50e9, 30e-6, 2.5e-9, 6e-9, 2e-3
# Seconds of tracing and compiling: forward and in a train step, of every program and for each dense map of a layer.
COMPILE_FORWARD, COMPILE_TRAINING, FORWARD_MAP, TRAINING_MAP = 0.6, 3.0, 0.1, 0.15
# Of compiling, what remains where the run has the compiled program already and traces it again.
AGAIN = 0.25
# Predictions of masked LM for each column, and the programs that have its head.
_MASKED = 0.15
MASKED_LM = ("pretrain", "distill", "teacher", "evaluate")


@dataclass(frozen=True)
class Seconds:
    """Seconds on the clock, and of all cores together."""

    wall: float
    cpu: float

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)

    def scaled(self, factor: float) -> Seconds:
        """Multiplies both."""
        return Seconds(self.wall * factor, self.cpu * factor)


@dataclass(frozen=True)
class Measured:
    """Figures of a program as a calibration measured them.

    Attributes:
        program: the program, with the batch that was measured, which may be a part of the run's.
        compiling: tracing and compiling.
        call: one call; None where it needs more memory than there is.
        work_bytes: work space of a call, as the compiler gives it.
    """

    program: Program
    compiling: Seconds
    call: Seconds | None
    work_bytes: int = 0


def dense_maps(encoder: EncoderConfig) -> int:
    """Counts the dense maps of one layer, each of which is compiled; layers share them."""
    return sum(
        product.weights and product.copies == encoder.num_hidden_layers for product in matrix_products(encoder, 1, 1)
    )


def program_flops(program: Program) -> float:
    """FLOPs of the matrix products of a call: forward, twice as much backward, and the teacher's forward pass."""
    size, length = program.batch_size, program.length
    predictions = round(_MASKED * size * length) if program.kind in MASKED_LM else 0
    flops = forward_flops(program.encoder, size, length) + masked_lm_head_flops(program.encoder, predictions)
    own = flops * (3.0 if program.kind in TRAINING else 1.0)
    return own + (forward_flops(program.teacher, size, length) if program.teacher is not None else 0.0)


def call_formula(program: Program) -> float:
    """Seconds of a call by formula."""
    if program.kind == "mask":
        return 0.0
    encoder, passes = program.encoder, 3 if program.kind in TRAINING else 1
    operations = passes * encoder.num_hidden_layers * (dense_maps(encoder) + 2)
    seconds = program_flops(program) / RATE + operations * OPERATION + passes / 3 * _values(program) * VALUE
    if program.kind in TRAINING:
        seconds += parameter_counts(encoder)["encoder"] * PARAMETER
    return seconds + (0.0 if program.kind == "inference" else CALL)


def _values(program: Program) -> int:
    """Counts the results of all matrix products of a forward pass."""
    products = matrix_products(program.encoder, program.batch_size, program.length)
    return sum(product.copies * product.m * product.n for product in products)


def compile_formula(program: Program) -> float:
    """Seconds of tracing and compiling by formula."""
    maps = dense_maps(program.encoder)
    if program.kind == "mask":
        return 2.0
    if program.kind not in TRAINING:
        return COMPILE_FORWARD + FORWARD_MAP * maps
    teacher = FORWARD_MAP * dense_maps(program.teacher) if program.teacher is not None else 0.0
    return COMPILE_TRAINING + TRAINING_MAP * maps + teacher


def work_formula(program: Program) -> float:
    """Bytes of the results of all matrix products of a call, which a backward pass keeps, and of the gradients.

    Forward alone the results of one layer are alive.
    """
    encoder, trains = program.encoder, program.kind in TRAINING
    values = _values(program)
    predictions = round(_MASKED * program.batch_size * program.length)
    logits = predictions * encoder.vocab_size if program.kind in MASKED_LM else 0
    if not trains:
        return 4.0 * (values / encoder.num_hidden_layers + logits)
    return 4.0 * (values + 2 * logits + parameter_counts(encoder)["encoder"])


def _group(program: Program) -> str:
    return "train" if program.kind in TRAINING else "mask" if program.kind == "mask" else "forward"


class Costs:
    """Costs of programs on this machine."""

    def __init__(self, measured: Sequence[Measured], cores: int) -> None:
        """Takes what was measured; with nothing measured the formulas count as they are."""
        self._measured, self.cores = tuple(measured), cores
        compiled = [m.compiling.wall / compile_formula(m.program) for m in measured]
        # How much slower this machine is than that of the constants.
        self.slowness = math.exp(sum(map(math.log, compiled)) / len(compiled)) if compiled else 1.0

    def call(self, program: Program) -> Seconds:
        """Seconds of a call."""
        formula = call_formula(program)
        like = self._most_like(program, [m for m in self._measured if m.call is not None])
        if like is None or like.call is None or not formula:
            return Seconds(formula, formula).scaled(self.slowness)
        return like.call.scaled(formula / call_formula(like.program))

    def compiling(self, program: Program) -> Seconds:
        """Seconds of tracing and compiling."""
        formula = compile_formula(program)
        like = self._most_like(program, self._measured)
        if like is None:
            return Seconds(formula, formula).scaled(self.slowness)
        return like.compiling.scaled(formula / compile_formula(like.program))

    def work_bytes(self, program: Program) -> float:
        """Bytes of the work space of a call: the formula, scaled by what the compiler gave for the most similar."""
        like = self._most_like(program, [m for m in self._measured if m.work_bytes])
        ratio = like.work_bytes / work_formula(like.program) if like is not None else 1.0
        return ratio * work_formula(program)

    def _most_like(self, program: Program, among: Sequence[Measured]) -> Measured | None:
        """Chooses what was measured for a program: if it trains one that trains, of its kind if there is one."""
        group, formula = _group(program), call_formula(program)

        def distance(measured: Measured) -> tuple[bool, float]:
            other = measured.program
            far = abs(math.log(max(formula, 1e-9) / max(call_formula(other), 1e-9)))
            return other.kind != program.kind, far

        return min((m for m in among if _group(m.program) == group), key=distance, default=None)

    def job(self, job: Job, compiled: set[Program]) -> Seconds:
        """Seconds of a job alone on the machine; `compiled` are the programs so far, to which it adds its own."""
        total = Seconds(job.overhead, job.overhead).scaled(self.slowness)
        own = dict.fromkeys(calls.program for calls in job.calls)
        for program in own:
            total += self.compiling(program).scaled(AGAIN if program in compiled else 1.0)
        compiled.update(own)
        return sum(map(self._calls, job.calls), total)

    def _calls(self, calls: Calls) -> Seconds:
        once = self.call(calls.program)
        total = once.scaled(calls.count)
        limited = min(max(total.wall, calls.at_least), calls.at_most)
        return total.scaled(limited / total.wall) if total.wall else total

    def stage(self, work: StageWork, compiled: set[Program]) -> Seconds:
        """Seconds of a stage: its jobs on its threads, and no faster than all cores together."""
        first = sum((self.job(job, compiled) for job in work.first), Seconds(0.0, 0.0))
        jobs = [self.job(job, compiled) for job in work.jobs]
        cpu, workers = sum(seconds.cpu for seconds in jobs), max(1, min(work.workers, len(jobs)))
        together = cpu / self.cores if workers > 1 else 0.0
        wall = max(makespan([seconds.wall for seconds in jobs], workers), together)
        return first + Seconds(wall, cpu)


def makespan(seconds: Iterable[float], workers: int) -> float:
    """Seconds until all jobs are done, where each thread that is free takes the next one."""
    free = [0.0] * workers
    for duration in seconds:
        earliest = free.index(min(free))
        free[earliest] += duration
    return max(free)
