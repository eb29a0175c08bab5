"""Peak memory of each stage: what a process takes in any case, states, work space, and what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.dry_run.programs import TRAINING, Program, StageWork
from benchmark.models.formulas import parameter_counts

if TYPE_CHECKING:
    from benchmark.config import RunConfig
    from benchmark.dry_run.costs import Costs
    from benchmark.dry_run.programs import Job

# Parameters and the two moments of AdamW and LAMB, in float32; the gradients are part of the work space.
STATE_BYTES, PARAMETER_BYTES = 12, 4
# The data stage's child, which imports TensorFlow and SeqIO (docs/performance.md); torch and Ax in a search by `ax`.
TENSORFLOW_BYTES, AX_BYTES = int(0.95 * 2**30), int(0.5 * 2**30)
# A process that has imported jax, and its growth when it compiles, where no calibration has measured them.
BASE_BYTES, COMPILE_BYTES = int(0.25 * 2**30), int(0.25 * 2**30)
# A compiled program of a small model: the quickstart keeps about fifty of them.
PROGRAM_BYTES = 40 * 2**20


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a stage: of the process, its models' states, their work space, the outputs that are kept."""

    process: float
    states: float = 0.0
    work: float = 0.0
    kept: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.process + self.states + self.work + self.kept


def state_bytes(program: Program) -> int:
    """Bytes of the arrays that a program reads and keeps: parameters, and the optimizer's state where it trains."""
    head = "encoder_and_pooler" if program.kind in ("finetune", "predict") else "encoder_and_masked_lm_head"
    own = parameter_counts(program.encoder)[head] * (STATE_BYTES if program.kind in TRAINING else PARAMETER_BYTES)
    teacher = program.teacher
    return own + (PARAMETER_BYTES * parameter_counts(teacher)["encoder_and_masked_lm_head"] if teacher else 0)


def stage_peaks(
    left: Sequence[StageWork], config: RunConfig, costs: Costs, base: int, compile_bytes: int
) -> dict[str, Memory]:
    """Adds up the peak of each stage: the largest jobs that its threads can have at a time.

    The stages share a process, which keeps its libraries and programs, and returns little of the memory that it frees:
    a stage has at least the peak of the one before it. The data stage is a child.

    Args:
        left: what is left of each stage.
        config: the settings.
        costs: gives the work space of programs.
        base: bytes of a process that has loaded the libraries.
        compile_bytes: growth of a process when it compiles.
    """
    peaks: dict[str, Memory] = {}
    compiled: set[Program] = set()
    held = Memory(base)
    for work in (work for work in left if work.every_job):
        if work.stage == "data":
            peaks["data"] = Memory(TENSORFLOW_BYTES + base)
            continue
        compiled |= {calls.program for job in work.every_job for calls in job.calls if work.stage != "latency"}
        if work.stage == "search" and config.search is not None and config.search.algorithm == "ax":
            base += AX_BYTES
        own = _stage_peak(work, config, costs)
        peak = Memory(
            base + compile_bytes * work.workers + PROGRAM_BYTES * len(compiled), own.states, own.work, own.kept
        )
        held = peaks[work.stage] = max(held, peak, key=lambda memory: memory.total)
    return peaks


def _stage_peak(work: StageWork, config: RunConfig, costs: Costs) -> Memory:
    """Adds up the arrays of a stage."""
    largest = sorted((_job_peak(job, costs) for job in work.every_job), key=sum, reverse=True)[: work.workers]
    states, space = sum(peak[0] for peak in largest), sum(peak[1] for peak in largest)
    if work.stage in ("search", "distill") and config.teacher is not None:
        states += PARAMETER_BYTES * parameter_counts(config.teacher.architecture)["encoder_and_masked_lm_head"]
    kept = sum(calls.kept_bytes for job in work.every_job for calls in job.calls)
    return Memory(0.0, states, space, min(kept, config.trainer.teacher_cache_bytes))


def _job_peak(job: Job, costs: Costs) -> tuple[float, float]:
    """Bytes of state and of work space of the largest program of a job."""
    programs = {calls.program for calls in job.calls if calls.program.kind not in ("mask", "teacher")}
    pairs = [(float(state_bytes(program)), costs.work_bytes(program)) for program in programs]
    return max(pairs, key=sum, default=(0.0, 0.0))
