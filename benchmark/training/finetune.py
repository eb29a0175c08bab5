"""Fine-tuning of one task: token arrays in, parameters out."""

from __future__ import annotations

import dataclasses
import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmark.models.heads import SequenceModel, SpanModel
from benchmark.training import checkpoints, divergence
from benchmark.training.batches import (
    GroupedOrder,
    TaskData,
    batch_lengths,
    describe_indices,
    make_batch,
    row_lengths,
)
from benchmark.training.fit import DivergedError, Steps, fit
from benchmark.training.initial import init_tree
from benchmark.training.optimizers import learning_rate, make_optimizer
from benchmark.training.state import init_state, make_train_step
from tasks.arrays import token_arrays

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig, FinetuneConfig, OptimizerConfig, TrainerConfig
    from benchmark.models.trees import Params
    from benchmark.training.fit import StepInputs
    from benchmark.training.job import TrainingJob
    from benchmark.training.state import LossFunction, Settings, TrainStep
    from tasks.catalogue import TaskInfo

# GLUE's tasks have two or three labels. With room for three in the smallest head they all share one compiled program
# for each encoder; published scores of tasks with two labels were made with such a head, whose initial values depend
# on its width.
SMALLEST_CLASS_HEAD = 3


class TaskHead(NamedTuple):
    """The part of a task that its compiled programs depend on.

    Attributes:
        kind: `TaskInfo.kind`.
        outputs: width of the last layer: start and end of a span, one value of a regression, and as many labels as the
            task has, but at least `SMALLEST_CLASS_HEAD`.
    """

    kind: str
    outputs: int


class FinetuneReport(NamedTuple):
    """Figures of one fine-tuning; all but `seconds` follow from its settings.

    Attributes:
        steps: number of steps; it and all other figures are 0 where a loss was not finite.
        tokens: real tokens of all steps.
        columns: the same with padding, which is computed too.
        loss: mean training loss of the last `divergence.tail_steps`; None where it was not finite.
        diverged: the reason why it counts as diverged (`benchmark.training.divergence`), '' where it does not.
        seconds: time of the steps, compiling included.
    """

    steps: int
    tokens: int = 0
    columns: int = 0
    loss: float | None = None
    diverged: str = ""
    seconds: float = 0.0


class Finetuned(NamedTuple):
    """Parameters of encoder and head after a fine-tuning, and its report."""

    params: Params
    report: FinetuneReport


def task_head(task: TaskInfo) -> TaskHead:
    """Chooses the head of a task."""
    classes = task.kind == "classification"
    return TaskHead(task.kind, max(task.num_labels, SMALLEST_CLASS_HEAD) if classes else task.num_labels)


def task_model(encoder: EncoderConfig, head: TaskHead, compute_dtype: str = "float32") -> SequenceModel | SpanModel:
    """Makes an encoder with the head of a task."""
    dtype = jnp.dtype(compute_dtype)
    if head.kind == "span":
        return SpanModel(encoder, dtype=dtype)
    return SequenceModel(encoder, head.outputs, dtype=dtype)


def label_bias(task: TaskInfo) -> np.ndarray:
    """0 for a task's labels and -1e9 for unused outputs, which softmax and gradient ignore: `[TaskHead.outputs]`."""
    return np.where(np.arange(task_head(task).outputs) < task.num_labels, 0.0, -1e9).astype(np.float32)


def without_unused_outputs(params: Params, task: TaskInfo) -> Params:
    """Cuts the classification head of fine-tuned parameters to the labels of the task."""
    if task.kind != "classification":
        return params
    head = params["classifier"]
    return params | {"classifier": {name: values[..., : task.num_labels] for name, values in head.items()}}


def initial_params(encoder: EncoderConfig, start: Params, task: TaskInfo, seed: int) -> Params:
    """Copies an encoder and its pooler, so that a train step may take them over, and adds what else the task needs.

    Args:
        encoder: architecture.
        start: tree with `encoder`, and `pooler` where a checkpoint has one; other heads are not used.
        task: the task.
        seed: seeds the fresh head.
    """
    params = init_tree(task_model(encoder, task_head(task)), encoder, seed, num_inputs=3)
    kept = {name: start[name] for name in ("encoder", "pooler") if name in start and name in params}
    return params | jax.tree.map(jnp.array, kept)


def restore_params(path: Path, encoder: EncoderConfig, task: TaskInfo) -> Params:
    """Reads parameters that were kept `without_unused_outputs`, and adds those outputs, all 0.

    Raises:
        FileNotFoundError: there are none at `path`.
        ValueError: they are of another architecture or task.
    """
    like = init_tree(task_model(encoder, task_head(task)), encoder, 0, num_inputs=3)
    params: Params = checkpoints.restore(path, without_unused_outputs(like, task))
    if task.kind != "classification":
        return params
    missing = task_head(task).outputs - task.num_labels
    head = {name: np.pad(v, [(0, 0)] * (v.ndim - 1) + [(0, missing)]) for name, v in params["classifier"].items()}
    return params | {"classifier": head}


def _loss(encoder: EncoderConfig, head: TaskHead, compute_dtype: str) -> LossFunction:
    model = task_model(encoder, head, compute_dtype)

    def loss(params: Params, batch: dict[str, jax.Array], settings: Settings) -> tuple[jax.Array, dict[str, jax.Array]]:
        outputs = model.apply({"params": params}, batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        if head.kind == "classification":
            value = cross_entropy(outputs + settings["label_bias"], batch["label"]).mean()
        elif head.kind == "regression":
            value = jnp.square(outputs[:, 0] - batch["label"]).mean()
        else:
            start = cross_entropy(outputs[..., 0], batch["start_position"])
            end = cross_entropy(outputs[..., 1], batch["end_position"])
            value = 0.5 * (start + end).mean()
        return value, {}

    return loss


def train_step(
    encoder: EncoderConfig, head: TaskHead, config: FinetuneConfig, trainer: TrainerConfig
) -> tuple[TrainStep, optax.GradientTransformation]:
    """Compiles one step for all tasks with a head, all seeds and all recipes, and its optimizer."""
    parts = trainer.gradient_accumulation_steps
    return _train_step(encoder, head, config.optimizer.without_schedule, trainer.compute_dtype, parts)


@lru_cache(maxsize=8)
def _train_step(
    encoder: EncoderConfig, head: TaskHead, optimizer_config: OptimizerConfig, compute_dtype: str, parts: int
) -> tuple[TrainStep, optax.GradientTransformation]:
    optimizer = make_optimizer(optimizer_config)
    return make_train_step(_loss(encoder, head, compute_dtype), optimizer, accumulation_steps=parts), optimizer


def finetune_steps(config: FinetuneConfig, epochs: float, num_rows: int) -> int:
    """Number of steps of one fine-tuning run."""
    steps = math.ceil(epochs * num_rows / config.batch_size)
    return min(steps, config.max_steps) if config.max_steps else steps


def finetune(
    encoder: EncoderConfig,
    start: Params,
    data: TaskData,
    config: FinetuneConfig,
    epochs: float,
    job: TrainingJob,
) -> Finetuned:
    """Fine-tunes an encoder on one task, all parameters, from a fresh head.

    A loss, gradient or update that is not finite ends it; `divergence.constant_model` is its outcome then.

    Args:
        encoder: architecture.
        start: pretrained parameters, as for `initial_params`; they are not changed.
        data: the task with its training rows.
        config: batch size, optimizer, limit of steps.
        epochs: passes over the rows.
        job: its seed seeds head and data order.
    """
    task, rows, size = data.task, data.rows, config.batch_size
    step, optimizer = train_step(encoder, task_head(task), config, job.trainer)
    # A copy: the train step donates its state, and the caller's parameters serve other seeds and tasks.
    params = initial_params(encoder, start, task, job.seed)
    total = finetune_steps(config, epochs, rows.num_rows)
    settings: Settings = {"label_bias": label_bias(task)} if task.kind == "classification" else {}
    lengths = row_lengths(rows, data.pad_id) if config.group_by_length else None
    grouped = None if lengths is None else GroupedOrder(lengths, size, total, job.seed)
    widths = None if lengths is None else batch_lengths(lengths, size)

    def chosen(number: int) -> tuple[np.ndarray, int]:
        if lengths is None or grouped is None or widths is None:
            return token_arrays.batch_indices(rows.num_rows, size, number, job.seed), data.length
        indices = grouped.indices(number)
        return indices, int(widths[np.searchsorted(widths, lengths[indices].max())])

    # Counted on the host: another output would make another program of the step.
    tokens, columns = np.zeros(total, np.int64), np.zeros(total, np.int64)

    def inputs(number: int) -> StepInputs:
        indices, length = chosen(number)
        rate = np.float32(learning_rate(config.optimizer, number, total))
        batch = make_batch(rows, indices, length, data.pad_id)
        tokens[number], columns[number] = batch["attention_mask"].sum(), batch["attention_mask"].size
        return batch, rate, settings

    steps = Steps(
        step,
        inputs,
        total,
        describe_batch=lambda number: describe_indices(number, chosen(number)[0]),
        tokens=lambda number: int(tokens[number]),
        tail=divergence.tail_steps(total, size, rows.num_rows),
    )
    # A log waits for the device, and the many short runs of a stage have no use for one that nothing keeps.
    if job.directory is None and job.monitor.tensorboard is None:
        job = dataclasses.replace(job, trainer=dataclasses.replace(job.trainer, log_every=total))
    try:
        state, report = fit(init_state(params, optimizer), steps, job)
    except DivergedError as error:
        return diverged_model(encoder, start, data, job, error)
    diverged = divergence.reason(report.tail_loss, divergence.constant_loss(task, rows))
    figures = FinetuneReport(
        total, report.tokens, int(columns.sum()), report.tail_loss, diverged, round(report.seconds, 3)
    )
    return Finetuned(state.params, figures)


def diverged_model(
    encoder: EncoderConfig, start: Params, data: TaskData, job: TrainingJob, error: DivergedError
) -> Finetuned:
    """Makes the outcome of a training on a task that `error` ended, and says so in a progress line."""
    job.progress(f"{error}; it counts as diverged, and a constant prediction stands for it")
    untrained = initial_params(encoder, start, data.task, job.seed)
    report = FinetuneReport(0, diverged=divergence.NOT_FINITE)
    return Finetuned(divergence.constant_model(untrained, data.task, data.rows), report)
