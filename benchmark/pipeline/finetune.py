"""The stage that fine-tunes every system and keeps its predictions.

A task without training data is predicted with the model of the task that it names (`trained_on` in the catalogue): one
model for each system and seed is fine-tuned on MNLI, and predicts MNLI-m, MNLI-mm and AX.

With `FinetuneConfig.distill` found students and baselines learn a task from the teacher that was fine-tuned on it with
the first seed (`benchmark.pipeline.distill_task`); the teacher therefore comes first.

Before the seeds of a task comes the choice of its learning rate, where there are several (`rate_choice`); a task that
starts from another one's parameters comes after it (`start_task`). A seed that diverged is predicted and scored as the
others are (`benchmark.training.divergence`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.config import FinetuneConfig, fingerprint
from benchmark.evaluation import score
from benchmark.evaluation.predict import predict
from benchmark.models.formulas import num_parameters
from benchmark.pipeline import distill_task, start_task
from benchmark.pipeline.finetune_run import (
    Trained,
    decided_by,
    figures,
    pace,
    plain_job,
    shared_result,
    training_figures,
)
from benchmark.pipeline.rate_choice import chosen_settings
from benchmark.pipeline.run_context import Run, SystemPlan, plan, replicates, sum_markers
from benchmark.pipeline.threads import map_threads
from benchmark.pipeline.workdir import run_stage_once, start_folder
from benchmark.training import checkpoints, distributed, finetune
from benchmark.training.batches import TaskData, used_length
from tasks.scoring import metrics
from tasks.system.progress import duration

if TYPE_CHECKING:
    from benchmark.pipeline.start_task import Starts
    from tasks.catalogue import TaskInfo

# One seed of a task that takes longer has a line of its own.
REPORTED_FROM_S = 10.0


def prediction_path(run: Run, system: str, task: str, seed: int, split: str = "") -> Path:
    """Path of the predictions of one fine-tuning run of a system, or of one of its distillations, by name.

    They are those on the evaluation split, or on another one.
    """
    other = f"{split}_" if split and split != evaluation_split(run, task) else ""
    return run.workdir / "evaluation" / system / task / f"{other}seed{seed}.json"


def parameters_path(run: Run, system: str, task: str) -> Path:
    """Path of the parameters that were fine-tuned on a task with the first seed, if they are kept."""
    return run.workdir / "evaluation" / system / task / "parameters"


def evaluation_split(run: Run, task: str) -> str:
    """Chooses the split that a task is evaluated on: `validation`, or else `test`, which has no labels."""
    return "validation" if "validation" in run.data["tasks"][task] else "test"


def unscored_splits(run: Run, task: str) -> tuple[str, ...]:
    """Lists the splits of a task that are predicted and, without public labels, not scored."""
    splits = run.data["tasks"][task]
    wanted = run.config.finetune.predict_test or evaluation_split(run, task) == "test"
    return ("test",) if wanted and "test" in splits else ()


def finetune_stage(run: Run) -> dict[str, Any]:
    """Fine-tunes every system on every task with every seed and writes its predictions on the evaluation split.

    Each distillation of a student is fine-tuned like a system of its own, the first of them first. The models are small
    and many: the processes of a distributed run share out the systems, and each system is trained on one device. Where
    students learn from the fine-tuned teacher, it comes first.
    """
    systems, first = plan(run), []
    if run.config.finetune.distill is not None:
        teachers = [system for system in systems if system.kind == "teacher" and distributed.is_leader()]
        first = [finetuned_system(run, system) for system in teachers]
        systems = [system for system in systems if system.kind != "teacher"]
        distributed.wait("finetune teacher")
    share = systems[distributed.process_index() :: distributed.process_count()]
    rest = map_threads(lambda system: _every_distillation(run, system), share, run.config.parallel_systems)
    distributed.wait("finetune")
    return sum_markers([*first, *rest])


def _every_distillation(run: Run, system: SystemPlan) -> dict[str, Any]:
    return sum_markers([finetuned_system(run, one) for one in replicates(run, system)])


def finetuned_system(run: Run, system: SystemPlan) -> dict[str, Any]:
    """Fine-tunes one system with every seed on every task that has training data, and predicts all tasks.

    Returns:
        The seconds that it took, and whether all of it was reused.
    """
    tasks, seeds = run.config.data.tasks, run.config.finetune.seeds
    markers: dict[tuple[str, int], dict[str, Any]] = {}
    kept: list[dict[str, Any]] = []
    starts = start_task.Starts(run, system)
    ordered = start_task.in_order(run)
    for trained in ordered:
        group = [trained, *(task for task in tasks if run.tasks[task].trained_on == trained)]
        settings, chosen = chosen_settings(run, system, starts, trained)
        kept += chosen
        for seed in seeds:
            predicted, parameters = _evaluated(run, system, starts, group, seed, settings)
            _report_slow(run, system, predicted)
            markers |= predicted
            kept += parameters
        if distill_task.needs_parameters(run, system):
            kept += distill_task.augment_task(run, parameters_path(run, system.name, trained).parent, trained)
    starts.clear()
    done = sum_markers([*markers.values(), *kept])
    lines = [_marker_line(run.tasks[task], markers[task, seed]) for task in tasks for seed in seeds]
    speed = pace(_worked(markers[task, seed] for task in ordered for seed in seeds))
    taken = sum("cached" in marker for marker in (*markers.values(), *kept))
    origin = f" ({taken} results taken from the cache {run.cache.folder})" if run.cache is not None and taken else ""
    words = "reused" if done["reused"] else ", ".join(lines) + (f"; {speed}" if speed else "")
    run.progress(f"finetune {system.name}: {words}{origin}")
    return done


def _worked(markers: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keeps the markers of work that this call has done."""
    return [marker for marker in markers if not marker["reused"] and "cached" not in marker]


def _report_slow(run: Run, system: SystemPlan, predicted: Mapping[tuple[str, int], dict[str, Any]]) -> None:
    """Writes a line for a seed of a task that took long, so that a log of slow fine-tunings goes on."""
    worked = _worked(predicted.values())
    seconds = sum(marker["seconds"] for marker in worked)
    if seconds >= REPORTED_FROM_S:
        # All of them come from one model, which the first has trained.
        speed = pace(worked[:1])
        scores = [_marker_line(run.tasks[task], marker) for (task, _), marker in predicted.items()]
        seed, words = next(iter(predicted))[1], ", ".join([*scores, *([speed] if speed else [])])
        run.progress(f"finetune {system.name}: seed {seed} in {duration(seconds)}, {words}")


def _marker_line(task: TaskInfo, marker: Mapping[str, Any]) -> str:
    result = marker["result"]
    return score_line(task, result["scores"], diverged=bool(result.get("training", {}).get("diverged")))


def score_line(task: TaskInfo, scores: dict[str, float], *, diverged: bool = False) -> str:
    """Words the primary score of a task for the log, and if its seed diverged."""
    words = f"{task.name} {scores[task.primary_metric]:.1f}" if scores else f"{task.name} predicted, no labels"
    return f"{words} (diverged)" if diverged else words


def _evaluated(
    run: Run, system: SystemPlan, starts: Starts, group: list[str], seed: int, settings: FinetuneConfig
) -> tuple[dict[tuple[str, int], dict[str, Any]], list[dict[str, Any]]]:
    """Fine-tunes on the first task of a group and predicts all of them, except the predictions that exist already.

    Returns:
        Markers of the predictions on evaluation splits by task and seed, and those of further predictions and of the
        parameters that are kept.
    """
    distilled = distill_task.learns_from_teacher(run, system)
    # Checkpoints and metrics of a student's distillation; plain fine-tuning is short and starts again.
    folder = prediction_path(run, system.name, group[0], seed).with_suffix("")

    # What other seeds and tasks do is of no consequence, except that a student's teacher learned with the first seed,
    # that a task may start from another one, and that the longest row of all tasks that one model predicts decides its
    # row length.
    settings = dataclasses.replace(settings, seeds=(settings.seeds[0] if distilled else seed,))
    rows = {task: run.task_fingerprint(task) for task in group}
    trained = decided_by(run, system, settings, rows, seed, *starts.decided_by(group[0], seed))
    # The tasks whose rows decide the result.
    read = [task for task in (*group, run.config.finetune.start_of(group[0])) if task]

    def fingerprint_of(task: str) -> str:
        return fingerprint(trained, task)

    def train() -> Trained:
        if distilled:
            start_folder(folder, fingerprint_of(group[0]))
        return _trained(run, system, starts, group, seed, folder, settings)

    model = cache(train)

    def run_once(
        path: Path, task: str, work: Callable[[], dict[str, Any]], items: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        shared = shared_result(run, system, path, fingerprint_of(task), read, items)
        return run_stage_once(path, fingerprint_of(task), work, lambda _: None, path.stem, shared=shared)

    markers, kept = {}, []
    for task in group:
        for split in dict.fromkeys((evaluation_split(run, task), *unscored_splits(run, task))):
            path = prediction_path(run, system.name, task, seed, split)
            marker = run_once(path, task, partial(_predicted, run, system, model, task, split))
            if split == evaluation_split(run, task):
                markers[task, seed] = marker
            else:
                kept.append(marker)
    if _keeps_parameters(run, system) and seed == run.config.finetune.seeds[0]:
        path = parameters_path(run, system.name, group[0])
        save = partial(_save_parameters, path, model, run.tasks[group[0]], seed)
        kept.append(run_once(path.with_suffix(".json"), group[0], save, (path.name,)))
    if followers := start_task.starting_from(run, group[0]):
        starts.add(group[0], seed, trained, train)
        if not all(prediction_path(run, system.name, task, seed).exists() for task in followers):
            kept.append(starts.keep(group[0], seed, model))
    if distilled:
        distill_task.remove_checkpoints(run, folder)
    return markers, kept


def _keeps_parameters(run: Run, system: SystemPlan) -> bool:
    """Returns True where the fine-tuned parameters of a system are kept: on request, for students, if it was found.

    Of several distillations those of the first are.
    """
    config, distill = run.config.finetune, run.config.distill
    if distill is not None and system.distill_seed not in (None, distill.seeds[0]):
        return False
    found = system.kind == "found" and 4 * num_parameters(system.encoder) <= config.keep_found_bytes
    return config.keep_parameters or found or distill_task.needs_parameters(run, system)


def _save_parameters(path: Path, model: Callable[[], Trained], task: TaskInfo, seed: int) -> dict[str, Any]:
    """Saves fine-tuned parameters, without the outputs that stand for no label of the task."""
    checkpoints.save(path, finetune.without_unused_outputs(model().params, task))
    return {"task": task.name, "seed": seed, "length": model().length}


def _trained(
    run: Run, system: SystemPlan, starts: Starts, group: list[str], seed: int, folder: Path, settings: FinetuneConfig
) -> Trained:
    """Fine-tunes on the first task of a group; its row length suffices for all tasks."""
    trained, pad_id = group[0], run.special.pad_id
    train = run.rows("tasks", trained, "train")
    predicted = [run.rows("tasks", task, evaluation_split(run, task)) for task in group]
    length = max(used_length(rows, pad_id, settings.length_multiple) for rows in (train, *predicted))
    name, start = f"{system.name} {trained} seed {seed}", starts.params(trained, seed)
    shown = figures(system.name, trained, seed)
    if distill_task.learns_from_teacher(run, system):
        # A system is trained on one device.
        job = dataclasses.replace(run.job(name, folder, seed=seed, figures=shown), mesh=None)
        teachers = parameters_path(run, "teacher", trained).parent
        return distill_task.distill_system(run, system, start, trained, length, teachers, job)
    data = TaskData(run.tasks[trained], train, length, pad_id)
    job = plain_job(run, name, seed, shown)
    tuned = finetune.finetune(system.encoder, start, data, settings, settings.epochs[0], job)
    return Trained(tuned.params, length, tuned.report)


def _predicted(
    run: Run, system: SystemPlan, model: Callable[[], Trained], task_name: str, split: str
) -> dict[str, Any]:
    """Predicts a split of a task with a fine-tuned model, and scores the predictions where it has labels."""
    task, rows = run.tasks[task_name], run.rows("tasks", task_name, split)
    params, length, report = model()
    # A test split is predicted on request alone, and what the model learns must not depend on it.
    length = max(length, used_length(rows, run.special.pad_id, run.config.finetune.length_multiple))
    outputs = predict(system.encoder, params, task, rows, length, run.special.pad_id)
    references = score.load_references(task, rows)
    result = score.to_result(task, outputs, rows, references, run.config.finetune.write_nbest)
    scores = metrics.score(task, result["predictions"], references) if split == "validation" else {}
    return {"split": split, "scores": scores, **result, **training_figures(report)}
