"""Task-specific distillation inside the fine-tuning stage: the fine-tuned teacher, augmented rows, and one student.

The teacher leaves its fine-tuned parameters and the augmented rows of each task in its own evaluation folder; students
read them there.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.config import AugmentationConfig, fingerprint
from benchmark.config.task_distillation import number_for_task
from benchmark.distillation import augmentation
from benchmark.distillation import task as task_distillation
from benchmark.distillation.teacher_cache import Teacher
from benchmark.pipeline.finetune_run import Trained
from benchmark.pipeline.run_context import refuse_damage
from benchmark.pipeline.teacher import load_teacher
from benchmark.pipeline.workdir import read_entry, run_stage_once
from benchmark.training import finetune, partitioning
from benchmark.training.batches import TaskData, used_length
from benchmark.training.fit import DivergedError
from tasks.arrays import token_arrays
from tasks.system.folders import remove_folder

if TYPE_CHECKING:
    from benchmark.models.trees import Params
    from benchmark.pipeline.run_context import Run, SystemPlan
    from benchmark.training.job import TrainingJob


def learns_from_teacher(run: Run, system: SystemPlan) -> bool:
    """Returns True for found students and baselines where `FinetuneConfig.distill` is set."""
    return run.config.finetune.distill is not None and system.kind in ("found", "baseline")


def recipe(run: Run, system: SystemPlan) -> str | None:
    """Names the recipe by which a system learned its tasks, or None where it was fine-tuned plainly."""
    config = run.config.finetune.distill
    return config.recipe if config is not None and learns_from_teacher(run, system) else None


def needs_parameters(run: Run, system: SystemPlan) -> bool:
    """Returns True where students need the fine-tuned parameters of a system."""
    return run.config.finetune.distill is not None and system.kind == "teacher"


def _augmentation(run: Run, task_name: str) -> AugmentationConfig | None:
    """Gives the augmentation of a task, if there is one and a phase reads its rows."""
    distill, kind = run.config.finetune.distill, run.tasks[task_name].kind
    wanted = distill is not None and any(kind in phase.augmented for phase in distill.phases)
    return distill.augmentation if distill is not None and wanted else None


def augment_task(run: Run, folder: Path, task_name: str) -> list[dict[str, Any]]:
    """Makes the augmented rows of a task, unless no phase reads any.

    Args:
        run: the run.
        folder: the teacher's evaluation folder of the task.
        task_name: a task with training data.

    Returns:
        The marker of the work, or nothing.
    """
    config = _augmentation(run, task_name)
    if config is None:
        return []
    copies = config.copies_of(task_name, run.config.data.tasks.index(task_name))
    upstream = read_entry(run.workdir / "teacher" / "stage.json", "fingerprint")
    values = fingerprint(upstream, config.rate, config.candidates, copies, task_name, run.config.seed)
    marker, target = folder / "augmented.json", folder / f"augmented-{values[:16]}"
    if not token_arrays.is_complete(target):
        marker.unlink(missing_ok=True)
    work = partial(_augmented, run, target, config, task_name, copies)
    return [run_stage_once(marker, values, work, lambda _: None, target.name)]


def _augmented(run: Run, target: Path, config: AugmentationConfig, task_name: str, copies: int) -> dict[str, Any]:
    for other in target.parent.glob("augmented-*"):
        if not other.name.startswith(target.name):
            remove_folder(other)
    teacher, train = load_teacher(run), run.rows("tasks", task_name, "train")
    how = augmentation.Replacement(
        augmentation.read_words(run.workdir / "data" / run.data["vocabulary"]["path"]),
        augmentation.masked_lm_candidates(teacher.encoder, teacher.params, run.special, config.candidates),
        copies,
        config.rate,
        run.config.seed,
    )
    length = used_length(train, run.special.pad_id, multiple=8)
    made = augmentation.augment(
        train, target, how, length=length, progress=lambda line: run.progress(f"{task_name}: {line}")
    )
    return {"rows": made.num_rows, "directory": target.name}


def distill_system(
    run: Run, system: SystemPlan, start: Params, task_name: str, length: int, teachers: Path, job: TrainingJob
) -> Trained:
    """Trains a student on a task with the teacher.

    It counts as diverged only where it is not finite, as its loss is not that of a prediction of labels.

    Args:
        run: the run.
        system: the student.
        start: its parameters before the task.
        task_name: a task with training data.
        length: columns to use.
        teachers: the teacher's evaluation folder of the task.
        job: with the fine-tuning seed.
    """
    config, task = run.config.finetune.distill, run.tasks[task_name]
    assert config is not None
    assert run.config.teacher is not None
    encoder = run.config.teacher.architecture
    refuse_damage(teachers / "parameters", teachers / "parameters.json")
    params = finetune.restore_params(teachers / "parameters", encoder, task)
    augmented = None
    if _augmentation(run, task_name) is not None:
        augmented = token_arrays.load(teachers / read_entry(teachers / "augmented.json", "result", "directory"))
    data = TaskData(task, run.rows("tasks", task_name, "train"), length, run.special.pad_id, augmented)
    place = run.config.data.tasks.index(task_name)
    epochs = tuple(number_for_task(phase.epochs, place) for phase in config.phases)
    teacher = Teacher(encoder, partitioning.place(None, params))
    try:
        tuned = task_distillation.distill_task(system.encoder, start, teacher, config, data, epochs, job)
    except DivergedError as error:
        failed = finetune.diverged_model(system.encoder, start, data, job, error)
        return Trained(failed.params, length, failed.report)
    return Trained(tuned, length)


def remove_checkpoints(run: Run, folder: Path) -> None:
    """Removes the checkpoints and results of `distill_system`, from which it would resume; the metrics stay."""
    config = run.config.finetune.distill
    for phase in config.phases if config is not None else ():
        for name in ("checkpoints", "result"):
            remove_folder(folder / phase.name / name, ignore_errors=True)
