"""The work of a run that is left: programs to compile and calls to make of each, by stage and in the run's order.

Counts follow from the settings, the rows of the data and what the folder holds; nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.dry_run.distill_work import STUDENT_OVERHEAD, distill_work, evaluation, masking, search_work
from benchmark.dry_run.programs import Calls, Job, Program, StageWork
from benchmark.dry_run.students import systems_of
from benchmark.dry_run.task_work import finetune_work

if TYPE_CHECKING:
    from benchmark.config import RunConfig
    from benchmark.dry_run.done import Done
    from benchmark.dry_run.rows import Rows

# Seconds and rows a second on the machine of docs/performance.md, for what is not calibrated.
IMPORTS_OF_TENSORFLOW, MICROWORLD, VOCABULARY = 8.0, 4.0, 1.0
TEXT_ROWS, TASK_ROWS = 5_000.0, 9_000.0
START_OF_PROCESS, EXPORT_OF_GRAPH, RECORD = 3.0, 8.0, 0.4


def left_work(config: RunConfig, stages: Sequence[str], rows: Rows, done: Done) -> list[StageWork]:
    """Lists what is left of the stages that a run of these settings has."""
    makers = {
        "data": _data,
        "teacher": _teacher,
        "search": search_work,
        "distill": distill_work,
        "finetune": finetune_work,
        "latency": _latency,
        "record": _record,
    }
    absent = {"teacher": config.teacher is None, "search": config.search is None}
    wanted = [stage for stage in stages if stage in makers and not absent.get(stage)]
    return [makers[stage](config, rows, done, tuple(wanted)) for stage in wanted]


def _data(config: RunConfig, rows: Rows, done: Done, stages: tuple[str, ...]) -> StageWork:
    del stages
    if done.data:
        return StageWork("data", "done")
    task_rows = sum(split.count for splits in rows.tasks.values() for split in splits.values())
    text = rows.pretrain + rows.validation
    seconds = IMPORTS_OF_TENSORFLOW + text / TEXT_ROWS + task_rows / TASK_ROWS
    if config.data.source == "microworld":
        seconds += MICROWORLD * config.data.microworld_scale
    if config.data.vocabulary == "train":
        seconds += VOCABULARY * max(1.0, text / 10_000)
    words = f"{text:,} rows of text, {task_rows:,} of {len(rows.tasks)} tasks"
    return StageWork("data", words, (Job("data", (), seconds),))


def _teacher(config: RunConfig, rows: Rows, done: Done, stages: tuple[str, ...]) -> StageWork:
    del stages
    teacher = config.teacher
    assert teacher is not None
    if done.teacher:
        return StageWork("teacher", "done")
    encoder, settings, length = teacher.architecture, teacher.pretrain, config.data.pretrain_length
    steps = max(0, settings.steps - done.teacher_steps)
    calls = []
    if settings.steps:
        calls = [
            masking(config, settings.batch_size),
            Calls(Program("pretrain", encoder, settings.batch_size, length), steps),
        ]
    twice = teacher.checkpoint is not None and settings.steps
    evaluations = [*evaluation(config, encoder, rows)] * (2 if twice else 1)
    words = f"{steps:,} steps of {settings.batch_size} x {length}" if settings.steps else "a checkpoint as it is"
    if done.teacher_steps and steps:
        words += f", {done.teacher_steps:,} are done"
    return StageWork("teacher", words, (Job("teacher", (*calls, *evaluations), STUDENT_OVERHEAD),))


def _latency(config: RunConfig, rows: Rows, done: Done, stages: tuple[str, ...]) -> StageWork:
    del rows, stages
    if done.latency:
        return StageWork("latency", "done")
    latency = config.latency
    encoders = dict.fromkeys(system.encoder for system in systems_of(config, done.found) if system.kind != "control")
    jobs = []
    for number in range(latency.processes):
        for runtime in latency.runtimes:
            calls = []
            for cell, (size, length) in enumerate(
                (size, length) for size in latency.batch_sizes for length in latency.sequence_lengths
            ):
                factor = latency.headline_factor if cell == 0 else 1
                for encoder in (latency.reference, *encoders):
                    program = Program("inference", encoder, size, length, f"{runtime}, process {number}")
                    # A pair is two calls of each side; the warm-up comes before.
                    pairs = 2 * factor * latency.pairs
                    least, most = (
                        factor * s + latency.warm_up_seconds / 2 for s in (latency.min_seconds, latency.max_seconds)
                    )
                    calls.append(Calls(program, pairs, least, most))
            overhead = START_OF_PROCESS
            if runtime == "onnxruntime" and number == 0:
                overhead += EXPORT_OF_GRAPH * (1 + len(encoders))
            jobs.append(Job(f"{runtime}, process {number}", tuple(calls), overhead))
    words = f"{len(encoders)} architectures, {latency.processes} processes of {', '.join(latency.runtimes)}"
    return StageWork("latency", words, tuple(jobs))


def _record(config: RunConfig, rows: Rows, done: Done, stages: tuple[str, ...]) -> StageWork:
    del rows, stages
    systems = systems_of(config, done.found)
    seconds = RECORD * len(systems) * max(1.0, len(config.data.tasks) / 5)
    return StageWork("record", f"{len(systems)} records", (Job("record", (), seconds),))
