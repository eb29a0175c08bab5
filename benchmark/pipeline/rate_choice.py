"""The choice of a learning rate for one system and task, on a part of the training split.

Every rate of `learning_rates` is trained with the first seed on the training split without the part that is held out
(`benchmark.evaluation.held_out`), and scored on that part by the task's primary metric. The validation split is not
read: neither its labels nor its rows.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmark.config import FinetuneConfig, fingerprint
from benchmark.evaluation import held_out, score
from benchmark.evaluation.predict import predict
from benchmark.pipeline import distill_task
from benchmark.pipeline.finetune_run import (
    decided_by,
    figures,
    plain_job,
    settings_of,
    shared_result,
    task_folder,
    training_figures,
)
from benchmark.pipeline.run_context import replicates
from benchmark.pipeline.workdir import read_entry, run_stage_once
from benchmark.training import finetune
from benchmark.training.batches import TaskData, used_length
from tasks.scoring import metrics

if TYPE_CHECKING:
    from pathlib import Path

    from benchmark.pipeline.run_context import Run, SystemPlan
    from benchmark.pipeline.start_task import Starts

# Marker of the choice in the folder of a task; the markers of the trials are next to it.
CHOICE = "learning_rate.json"


def rate_name(rate: float) -> str:
    """Names the trial of a learning rate: `rate-5e-05`."""
    return f"rate-{rate!r}"


def choice_path(run: Run, system: SystemPlan, task: str) -> Path:
    """Path of the choice for a system and task, that of its first distillation."""
    return task_folder(run, replicates(run, system)[0], task) / CHOICE


def chosen_settings(
    run: Run, system: SystemPlan, starts: Starts, task: str
) -> tuple[FinetuneConfig, list[dict[str, Any]]]:
    """Chooses the learning rate of a system for a task where there are several.

    Trials that are done are not repeated. A student that learns the task from the teacher has no rate to choose, and
    further distillations of a student have that of the first, which comes before them.

    Args:
        run: the run.
        system: the system.
        starts: the parameters from which its fine-tunings start.
        task: a task with training data.

    Returns:
        The settings with the chosen rate, as `FinetuneConfig.with_rate` gives them, and the markers of the work.
    """
    settings = settings_of(run, task)
    if not settings.learning_rates or distill_task.learns_from_teacher(run, system):
        return settings, []
    chosen = choice_path(run, system, task)
    if chosen.parent != task_folder(run, system, task):
        return settings.with_rate(read_entry(chosen, "result", "learning_rate")), []
    seed, folder = settings.seeds[0], task_folder(run, system, task)
    rows = {task: fingerprint(run.data["tasks"][task]["train"], run.tasks[task].metrics)}
    prints, markers = [], []
    for rate in settings.learning_rates:
        one = dataclasses.replace(settings.with_rate(rate), seeds=(seed,))
        decided = decided_by(run, system, one, rows, seed, *starts.decided_by(task, seed))
        prints.append(fingerprint(decided, settings.selection_fraction))
        marker = folder / f"{rate_name(rate)}.json"
        work = partial(_tried, run, system, starts, task, one, settings.selection_fraction)
        shared = shared_result(run, system, marker, prints[-1], (task,))
        markers.append(run_stage_once(marker, prints[-1], work, lambda _: None, marker.stem, shared=shared))
    trials = [marker["result"] for marker in markers]
    best = best_rate({trial["learning_rate"]: trial["score"] for trial in trials})
    outcome = {
        "learning_rate": best,
        "learning_rates": list(settings.learning_rates),
        "scores": [trial["score"] for trial in trials],
        "metric": run.tasks[task].primary_metric,
        "fraction": settings.selection_fraction,
        "num_examples": trials[0]["num_examples"],
        "seed": seed,
    }
    choice = run_stage_once(chosen, fingerprint(prints), lambda: outcome, lambda _: None, "choice")
    if not choice["reused"]:
        shown = ", ".join(f"{trial['learning_rate']:g} {trial['score']:.1f}" for trial in trials)
        run.progress(f"finetune {system.name}: {task}: learning rate {best:g} of {shown} on a part of train")
    return settings.with_rate(best), [*markers, choice]


def best_rate(scores: dict[float, float]) -> float:
    """Chooses the rate with the best score; of equal ones the smallest."""
    return min(scores, key=lambda rate: (-scores[rate], rate))


def _tried(
    run: Run, system: SystemPlan, starts: Starts, task_name: str, settings: FinetuneConfig, fraction: float
) -> dict[str, Any]:
    """Trains with one rate on a part of the training split, and scores the rest."""
    task, seed, rate = run.tasks[task_name], settings.seeds[0], settings.optimizer.learning_rate
    rows, pad_id = run.rows("tasks", task_name, "train"), run.special.pad_id
    parts = held_out.divide(task, rows, fraction)
    length = used_length(rows, pad_id, settings.length_multiple)
    name = (*figures(system.name, task_name, seed)[:-1], rate_name(rate))
    job = plain_job(run, f"{system.name} {task_name} {rate_name(rate)}", seed, name)
    data = TaskData(task, parts.train, length, pad_id)
    start = starts.params(task_name, seed)
    tuned = finetune.finetune(system.encoder, start, data, settings, settings.epochs[0], job)
    outputs = predict(system.encoder, tuned.params, task, parts.held_out, length, pad_id)
    predictions = score.to_result(task, outputs, parts.held_out, parts.references)["predictions"]
    scores = metrics.score(task, predictions, parts.references)
    return {
        "learning_rate": rate,
        "score": scores[task.primary_metric],
        "num_examples": len(parts.references),
        **training_figures(tuned.report),
    }
