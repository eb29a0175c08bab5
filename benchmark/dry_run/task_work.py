"""What is left of fine-tuning: steps and predictions of every system on every task with every seed.

Learning rates that are still to be tried are counted too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchmark.config.task_distillation import number_for_task
from benchmark.distillation.task import phase_steps
from benchmark.dry_run.programs import TRAINING, Calls, Job, Program, StageWork
from benchmark.dry_run.students import Student, systems_of
from benchmark.pipeline.rate_choice import rate_name
from benchmark.training.finetune import finetune_steps, task_head
from tasks.catalogue import find_tasks

if TYPE_CHECKING:
    from benchmark.config import FinetuneConfig, RunConfig
    from benchmark.dry_run.done import Done
    from benchmark.dry_run.rows import Rows, SplitRows
    from tasks.catalogue import TaskInfo

# Rows of a batch of `predict`, and of an augmentation, with the share of tokens for which it asks.
PREDICTION_BATCH, QUERY_BATCH, QUERIES = 128, 64, 0.5
# Seconds beside the steps of a fine-tuning, on the machine of docs/performance.md.
FINETUNING_OVERHEAD = 0.3


def finetune_work(config: RunConfig, rows: Rows, done: Done, stages: tuple[str, ...]) -> StageWork:
    """Lists the systems that are left, each with the fine-tunings and predictions that are missing."""
    del stages
    tasks = find_tasks(config.data.tasks, (task.request(None) for task in config.data.own_tasks))
    systems = systems_of(config, done.found)
    jobs: list[Job] = []
    first: list[Job] = []
    steps = 0
    for system in systems:
        calls: list[Calls] = []
        runs = 0
        for trained in (name for name, info in tasks.items() if not info.trained_on):
            group = [trained, *(name for name, info in tasks.items() if info.trained_on == trained)]
            tries = list(_tries(config, system, tasks[trained], rows, done))
            runs += sum(tried.program.kind == "predict" for tried in tries)
            calls += tries
            for seed in config.finetune.seeds:
                missing = [task for task in group if (system.name, task, seed) not in done.predictions]
                if missing:
                    runs += 1
                    calls += _one_finetuning(config, system, tasks, group, missing, rows)
            if calls and system.kind == "teacher" and "train" in rows.tasks[trained]:
                calls += _augmentation(config, system, tasks[trained], rows.tasks[trained]["train"])
        if calls:
            job = Job(system.name, tuple(calls), runs * FINETUNING_OVERHEAD)
            (first if system.kind == "teacher" and config.finetune.distill is not None else jobs).append(job)
            steps += round(sum(call.count for call in calls if call.program.kind in TRAINING))
    if not jobs and not first:
        return StageWork("finetune", "done")
    seeds = f"{len(config.finetune.seeds)} seed{'s' if len(config.finetune.seeds) > 1 else ''}"
    words = f"{len(jobs) + len(first)} of {len(systems)} systems on {len(tasks)} tasks, {seeds}"
    return StageWork("finetune", f"{words}, {steps:,} steps", tuple(jobs), config.parallel_systems, tuple(first))


def _one_finetuning(
    config: RunConfig,
    system: Student,
    tasks: dict[str, TaskInfo],
    group: list[str],
    missing: list[str],
    rows: Rows,
) -> Iterator[Calls]:
    """Lists the calls of one fine-tuning of a system with one seed, and of the predictions that are missing."""
    trained, head = group[0], str(task_head(tasks[group[0]]))
    settings = config.finetune.for_task(trained, config.data.tasks.index(trained))
    train = rows.tasks[trained]["train"]
    predicted = {task: rows.tasks[task]["evaluation"] for task in group}
    length = max(split.length for split in (train, *predicted.values()))
    if _is_distilled(config, system):
        yield from _task_distillation(config, system, tasks[trained], train, length)
    else:
        yield from _steps(settings, system, head, train, length, train.count)
    for task in missing:
        program = Program("predict", system.encoder, PREDICTION_BATCH, length, head)
        yield Calls(program, math.ceil(predicted[task].count / PREDICTION_BATCH))


def _is_distilled(config: RunConfig, system: Student) -> bool:
    """Returns True where a system learns its tasks from the teacher."""
    return config.finetune.distill is not None and system.kind in ("found", "baseline")


def _steps(
    settings: FinetuneConfig, system: Student, head: str, train: SplitRows, length: int, count: int
) -> Iterator[Calls]:
    """Lists the steps of a fine-tuning on `count` of the training rows."""
    steps = finetune_steps(settings, settings.epochs[0], count)
    for width, share in train.shares if settings.group_by_length else ((length, 1.0),):
        yield Calls(Program("finetune", system.encoder, settings.batch_size, width, head), share * steps)


def _tries(config: RunConfig, system: Student, task: TaskInfo, rows: Rows, done: Done) -> Iterator[Calls]:
    """Lists the calls that try the learning rates of a task which have not been tried."""
    settings = config.finetune.for_task(task.name, config.data.tasks.index(task.name))
    train, head = rows.tasks[task.name]["train"], str(task_head(task))
    held_out = round(settings.selection_fraction * train.count)
    # Further distillations of a student have the rate of the first.
    further = config.distill is not None and system.distill_seed not in (None, config.distill.seeds[0])
    for rate in () if further or _is_distilled(config, system) else settings.learning_rates:
        if (system.name, task.name, rate_name(rate)) not in done.rates:
            yield from _steps(settings, system, head, train, train.length, train.count - held_out)
            program = Program("predict", system.encoder, PREDICTION_BATCH, train.length, head)
            yield Calls(program, math.ceil(held_out / PREDICTION_BATCH))


def _augmentation(config: RunConfig, teacher: Student, task: TaskInfo, train: SplitRows) -> Iterator[Calls]:
    """Lists the calls of the teacher that look for replacements of words, of about every second token."""
    distill = config.finetune.distill
    if (
        distill is not None
        and distill.augmentation is not None
        and any(task.kind in p.augmented for p in distill.phases)
    ):
        queries = train.count * train.length * QUERIES
        yield Calls(Program("evaluate", teacher.encoder, QUERY_BATCH, train.length), math.ceil(queries / QUERY_BATCH))


def _task_distillation(
    config: RunConfig, system: Student, task: TaskInfo, train: SplitRows, length: int
) -> Iterator[Calls]:
    distill = config.finetune.distill
    assert distill is not None
    assert config.teacher is not None
    place, head = config.data.tasks.index(task.name), str(task_head(task))
    for phase in distill.phases:
        rows = train.count
        if distill.augmentation is not None and task.kind in phase.augmented:
            rows *= 1 + distill.augmentation.copies_of(task.name, place)
        steps = phase_steps(phase, number_for_task(phase.epochs, place), rows, distill.batch_size)
        program = Program("distill_task", system.encoder, distill.batch_size, length, f"{head} {phase.name}")
        yield Calls(program, steps)
        yield Calls(Program("teacher", config.teacher.architecture, distill.batch_size, length, head), steps)
