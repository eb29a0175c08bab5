"""The scores of a system in its record: its runs on every task, and what is known of the data of the task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmark.evaluation import score
from benchmark.pipeline import record_recipe
from benchmark.pipeline.workdir import read_entry
from benchmark.records.contamination import Contamination
from benchmark.records.task_definition import TaskDefinition, TaskFile
from benchmark.records.task_score import TaskScore, Unscored
from benchmark.records.training_file import TrainingFile
from tasks.files.source_notes import wrong_count

if TYPE_CHECKING:
    from benchmark.pipeline.run_context import Run, SystemPlan
    from benchmark.records.outcomes import TaskOutcomes
    from tasks.catalogue import TaskInfo


def task_score(
    run: Run, system: SystemPlan, task_name: str, *, trained_here: bool = True
) -> tuple[TaskScore, TaskOutcomes]:
    """Scores the predictions of a system on a task, and collects what its runs made of every example.

    Args:
        run: the run.
        system: the system.
        task_name: the name of the task.
        trained_here: False for a published checkpoint, whose pretraining text is not that of the run.
    """
    task, runs = run.tasks[task_name], record_recipe.prediction_paths(run, system, task_name)
    paths = list(runs.values())
    references = score.load_references(task, run.rows("tasks", task_name, "validation"))
    results = [read_entry(path, "result") for path in paths]
    predictions = [result["predictions"] for result in results]
    files = [str(path.relative_to(run.workdir)) for path in paths]
    details = [result["details"] for result in results if "details" in result]
    distill_seeds = [distill_seed for distill_seed, _ in runs if distill_seed is not None]
    seeds = [seed for _, seed in runs]
    scored, found = score.task_score(task, "validation", seeds, predictions, references, files, details, distill_seeds)
    more = {
        "definition": _definition(run, task),
        "training_file": training_file(run, task),
        "contamination": contamination(run, task_name, trained_here=trained_here),
    }
    return record_recipe.with_recipe(run, system, scored.model_copy(update=more)), found


def training_file(run: Run, task: TaskInfo) -> TrainingFile | None:
    """Names the training file of a task where it is not the official one with all of its rows.

    Tasks of TensorFlow Datasets and Hugging Face folders are not counted, nor is the embedded data, of which nothing is
    official.
    """
    trained = run.tasks[task.trained_on or task.name]
    note = run.data.get("task_sources", {}).get(trained.name, {}).get("train")
    if trained.own is not None or note is None:
        return None
    if trained.name not in run.config.data.train_files and not wrong_count(trained, "train", note["examples"]):
        return None
    name, sha256 = next(iter(note["files"].items()))
    return TrainingFile(
        name=name, sha256=sha256, examples=note["examples"], official_examples=trained.split_sizes["train"]
    )


def contamination(run: Run, task_name: str, *, trained_here: bool) -> Contamination | None:
    """Takes the overlap that the data stage counted; None in the folder of an older version.

    Args:
        run: the run.
        task_name: the name of the task.
        trained_here: as for `task_score`.
    """
    counted = run.data.get("contamination", {}).get(task_name)
    if counted is None:
        return None
    values = {name: value for name, value in counted.items() if name != "file"}
    return Contamination(**values | ({} if trained_here else {"in_pretraining": None}))


def _definition(run: Run, task: TaskInfo) -> TaskDefinition | None:
    """Describes an own task; None for a task of the catalogue."""
    own = task.own
    if own is None:
        return None
    holds_out = own.file("validation").split == "train"
    digests = {file.split: run.data["source_files"][own.source_name(file.split)]["sha256"] for file in own.files}
    return TaskDefinition(
        title=own.title,
        kind=own.kind,
        files={f.split: TaskFile(name=f.name, format=f.format, sha256=digests[f.split]) for f in own.files},
        examples={split: note["examples"] for split, note in run.data["task_sources"][own.name].items()},
        validation_fraction=own.validation_fraction if holds_out else None,
        split_seed=own.split_seed if holds_out else None,
        text_columns=list(own.text_columns),
        label_column=own.label_column,
        label_names=list(own.label_names),
        label_range=list(own.label_range),
        unanswerable=own.unanswerable,
        metrics=list(own.metrics),
    )


def unscored(run: Run, system: SystemPlan, task_name: str, split: str = "test") -> Unscored:
    """Names the predictions on a split without labels."""
    runs = record_recipe.prediction_paths(run, system, task_name, split)
    return Unscored(
        task=task_name,
        split=split,
        num_examples=run.rows("tasks", task_name, split).num_rows,
        seeds=[seed for _, seed in runs],
        predictions=[str(path.relative_to(run.workdir)) for path in runs.values()],
    )
