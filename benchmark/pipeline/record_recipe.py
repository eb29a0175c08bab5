"""What a record says of the fine-tunings behind the scores of a system: recipe, diverged seeds, averages, speed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmark.pipeline import distill_task, finetune
from benchmark.pipeline.finetune_run import settings_of
from benchmark.pipeline.rate_choice import choice_path
from benchmark.pipeline.run_context import replicates
from benchmark.pipeline.start_task import in_order
from benchmark.pipeline.workdir import read_entry, read_json
from benchmark.records.task_recipe import STARTED, DivergedSeed, RateChoice, TaskRecipe
from tasks.scoring import metrics

if TYPE_CHECKING:
    from benchmark.pipeline.run_context import Run, SystemPlan
    from benchmark.records.task_score import TaskScore


def prediction_paths(run: Run, system: SystemPlan, task: str, split: str = "") -> dict[tuple[int | None, int], Path]:
    """Lists the prediction files of a system on a task, by the seed of the distillation and of the fine-tuning."""
    return {
        (one.distill_seed, seed): finetune.prediction_path(run, one.name, task, seed, split)
        for one in replicates(run, system)
        for seed in run.config.finetune.seeds
    }


def with_recipe(run: Run, system: SystemPlan, scored: TaskScore) -> TaskScore:
    """Adds recipe and diverged runs to the score of a task; those of the task whose model predicted it."""
    task, found = run.tasks[scored.task].trained_on or scored.task, []
    for (distill_seed, seed), path in prediction_paths(run, system, scored.task).items():
        reason = read_entry(path, "result").get("training", {}).get("diverged", "")
        if reason:
            found.append(DivergedSeed(distill_seed=distill_seed or 0, seed=seed, reason=reason))
    return scored.model_copy(update={"recipe": _recipe(run, system, task), "diverged": found})


def _recipe(run: Run, system: SystemPlan, task: str) -> TaskRecipe | None:
    """Describes the plain fine-tuning of a system on a task; None for a student that learned it from the teacher."""
    if distill_task.learns_from_teacher(run, system):
        return None
    settings = settings_of(run, task)
    rate, choice = settings.optimizer.learning_rate, None
    if settings.learning_rates:
        chosen: dict[str, Any] = dict(read_entry(choice_path(run, system, task), "result"))
        rate = chosen.pop("learning_rate")
        choice = RateChoice(**chosen)
    return TaskRecipe(
        epochs=settings.epochs[0],
        max_steps=settings.max_steps,
        batch_size=settings.batch_size,
        learning_rate=rate,
        start=run.config.finetune.start_of(task) or None,
        choice=choice,
    )


def averages(scores: Sequence[TaskScore]) -> dict[str, float]:
    """Computes every average whose scores are complete.

    Returns:
        Average id -> percent, of tasks that started from the system's own parameters before fine-tuning. Averages that
        need another task too, which started from one of them, have `STARTED` behind their id. None has a task that was
        trained on another file than the official one.
    """
    scores = [score for score in scores if score.training_file is None]
    by_task = {score.task: {name: metric.value for name, metric in score.metrics.items()} for score in scores}
    started = {score.task for score in scores if score.recipe is not None and score.recipe.start is not None}
    plain = metrics.averages({task: values for task, values in by_task.items() if task not in started})
    mixed = metrics.averages(by_task)
    return plain | {f"{name}{STARTED}": value for name, value in mixed.items() if name not in plain}


def timing(run: Run, system: SystemPlan) -> dict[str, float]:
    """Gives the real tokens per second of the fine-tunings of a system by task, the median over its runs."""
    found = {}
    for task in in_order(run):
        paths = prediction_paths(run, system, task).values()
        paces = [read_json(path).get("timing", {}).get("tokens_per_second") for path in paths]
        if known := [pace for pace in paces if pace]:
            found[f"finetune_tokens_per_second.{task}"] = round(median(known), 1)
    return found
