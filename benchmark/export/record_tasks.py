"""The tasks of a record: those of the catalogue, and own ones, whose definition is in the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.catalogue import OwnFile, OwnTask, TaskInfo, get_task, own_task_info

if TYPE_CHECKING:
    from benchmark.records.record import Record


def task_of(record: Record, name: str) -> TaskInfo:
    """Looks up a task, in the record where it is an own one."""
    definition = next((scored.definition for scored in record.tasks if scored.task == name), None)
    if definition is None:
        return get_task(name)
    own = OwnTask(
        name=name,
        title=definition.title,
        kind=definition.kind,
        files=tuple(OwnFile(split=s, path=f.name, format=f.format) for s, f in definition.files.items()),
        validation_fraction=definition.validation_fraction or 0.0,
        split_seed=definition.split_seed or 0,
        text_columns=tuple(definition.text_columns),
        label_column=definition.label_column,
        label_names=tuple(definition.label_names),
        label_range=tuple(definition.label_range),
        unanswerable=definition.unanswerable,
        metrics=tuple(definition.metrics),
    )
    return own_task_info(own)


def predicted_with(record: Record, trained: str) -> list[TaskInfo]:
    """Lists the scored tasks that a model fine-tuned on a task predicts: that one, and MNLI-mm and AX beside MNLI."""
    tasks = [task_of(record, scored.task) for scored in record.tasks]
    return [task for task in tasks if trained in (task.name, task.trained_on)]


def score_of_seed(record: Record, task: str, metric: str, seed: int) -> float | None:
    """Returns a task's score of a fine-tuning seed of the first distillation, None where the record has none."""
    for scored in record.tasks:
        if scored.task == task and seed in scored.seeds and metric in scored.metrics:
            values = scored.metrics[metric].per_seed
            place = scored.seeds.index(seed)
            return values[place] if place < len(values) else None
    return None
