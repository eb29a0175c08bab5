"""Task-specific distillation: a student that was distilled in general learns a task from the fine-tuned teacher.

Source: TinyBERT, arXiv 1909.10351, section 3.2, and its released program (`task_distill.py`). The phases are data, as
in a recipe: first the layers, then the predictions. All tasks with a head and all seeds share a compiled step.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmark.config import EncoderConfig, OptimizerConfig, TaskDistillConfig, TaskPhaseConfig, TrainerConfig
from benchmark.distillation.initial import init_projections
from benchmark.distillation.layer_maps import layer_map
from benchmark.distillation.objectives import Objective, batch_losses, loss_function
from benchmark.distillation.outputs import BATCH_AXES, Needs, Outputs, Teacher, what_is_needed
from benchmark.distillation.rates import rate_factors, stage_weights
from benchmark.training import checkpoints
from benchmark.training.batches import describe_rows, make_batch
from benchmark.training.finetune import TaskHead, initial_params, label_bias, task_head, task_model
from benchmark.training.fit import fit
from benchmark.training.hooks import UNWATCHED, Monitor
from benchmark.training.metrics import training_flops
from benchmark.training.optimizers import learning_rate, make_direction
from benchmark.training.state import DEFAULTS, init_state, make_train_step
from tasks.arrays import token_arrays
from tasks.catalogue import TaskInfo


class TaskBatch(NamedTuple):
    """Rows of a task, all with a leading batch axis.

    Attributes:
        input_ids: `[batch, length]`.
        attention_mask: 1 for tokens and 0 for padding, `[batch, length]`.
        token_type_ids: `[batch, length]`.
        weights: ones, one for each distribution that is predicted: `[batch]`, or `[batch, 2]` for start and end.
        label: what a regression predicts, `[batch]`; None for other tasks.
        label_bias: `label_bias` of a classification for each row, `[batch, TaskHead.outputs]`; None for other tasks.
    """

    input_ids: Any
    attention_mask: Any
    token_type_ids: Any
    weights: Any
    label: Any = None
    label_bias: Any = None


def task_batch(
    task: TaskInfo, rows: token_arrays.TokenArrays, indices: np.ndarray, length: int, pad_id: int
) -> TaskBatch:
    """Rows `indices` of a task, cut to `length` columns."""
    batch = make_batch(rows, indices, length, pad_id)
    count = len(indices)
    return TaskBatch(
        batch["input_ids"],
        batch["attention_mask"],
        batch["token_type_ids"],
        np.ones((count, 2) if task.kind == "span" else count, np.float32),
        batch["label"] if task.kind == "regression" else None,
        np.tile(label_bias(task), (count, 1)) if task.kind == "classification" else None,
    )


def task_outputs(
    head: TaskHead, encoder: EncoderConfig, params: Any, batch: TaskBatch, needs: Needs, compute_dtype: str = "float32"
) -> Outputs:
    """Runs a model with the head of a task and keeps what `needs` names; `compute_dtype` is that of products.

    Returns:
        `logits` have the distribution on their last axis: `[batch, labels]`, `[batch, 2, length]` for start and end,
        and `[batch, 1]` of a regression.
    """
    inputs = batch.input_ids, batch.attention_mask, batch.token_type_ids
    result = task_model(encoder, head, compute_dtype).apply(
        {"params": params}, *inputs, method="outputs", **needs.wanted
    )
    logits = result.logits
    if head.kind == "classification":
        logits = logits + batch.label_bias
    elif head.kind == "span":
        logits = logits.swapaxes(1, 2)
    return what_is_needed(needs, result.encoder, logits)


@partial(jax.jit, static_argnums=(0, 1, 4, 5))
def _teacher_outputs(
    head: TaskHead, encoder: EncoderConfig, params: Any, batch: TaskBatch, needs: Needs, compute_dtype: str
) -> Outputs:
    """The teacher's `task_outputs`: a program of its own, which all students of a process share."""
    return task_outputs(head, encoder, params, batch, needs, compute_dtype)


def _regression_losses(
    objective: Objective, own: Outputs, teacher: Outputs, batch: TaskBatch, mask: jax.Array, settings: Any
) -> dict[str, jax.Array]:
    """As `batch_losses`, but the prediction is compared with the label, as in the released program."""
    rest = dataclasses.replace(objective, terms=objective.terms - {"soft_cross_entropy"})
    found = batch_losses(rest, own, teacher, batch, mask, settings)
    if "soft_cross_entropy" in objective.terms:
        found["soft_cross_entropy"] = jnp.square(own.logits[:, 0] - batch.label).mean()
    return found


@lru_cache(maxsize=16)
def _program(
    head: TaskHead,
    student: EncoderConfig,
    layers: tuple[int, ...],
    objective: Objective,
    optimizer: OptimizerConfig,
    trainer: TrainerConfig,
) -> tuple[Any, Any]:
    """The jitted step of a phase, and its optimiser without learning rate."""
    terms = _regression_losses if head.kind == "regression" else batch_losses
    loss = loss_function(student, layers, objective, trainer.compute_dtype, partial(task_outputs, head), terms)
    direction = make_direction(optimizer)
    step = make_train_step(
        loss,
        direction,
        accumulation_steps=trainer.gradient_accumulation_steps,
        batch_axes=(0, BATCH_AXES),
        count_tokens=lambda batch: batch[0].attention_mask.sum(),
    )
    return step, direction


def teacher_needs(kind: str, objective: Objective) -> Needs:
    """What a phase reads of the teacher: no prediction in a regression, which learns from the labels."""
    needs = objective.teacher_needs
    return needs._replace(logits=False) if kind == "regression" else needs


def phase_steps(phase: TaskPhaseConfig, epochs: float, num_rows: int, batch_size: int) -> int:
    """Steps of a phase that passes `epochs` times over `num_rows` rows, cut at the phase's own number if it has one."""
    steps = math.ceil(epochs * num_rows / batch_size)
    return min(steps, phase.steps) if phase.steps else steps


@dataclass(frozen=True)
class TaskData:
    """What a student learns a task from.

    Attributes:
        task: the task.
        rows: materialised training rows.
        augmented: rows with augmented copies, or None; phases choose.
        length: columns to use.
        pad_id: id of padding.
    """

    task: TaskInfo
    rows: token_arrays.TokenArrays
    augmented: token_arrays.TokenArrays | None
    length: int
    pad_id: int

    def chosen(self, phase: TaskPhaseConfig) -> token_arrays.TokenArrays:
        """The rows of a phase."""
        if self.task.kind in phase.augmented and self.augmented is not None:
            return self.augmented
        return self.rows


def distill_task(
    student: EncoderConfig,
    encoder_params: Any,
    teacher: Teacher,
    config: TaskDistillConfig,
    data: TaskData,
    *,
    epochs: tuple[float, ...],
    seed: int,
    directory: Path | None,
    name: str,
    progress: Callable[[str], None],
    trainer: TrainerConfig = DEFAULTS,
    monitor: Monitor = UNWATCHED,
) -> Any:
    """Distils one task into one student, from a fresh head.

    Args:
        student: architecture.
        encoder_params: parameters of the student's encoder; they are not changed.
        teacher: the teacher, its parameters those of encoder and task head as `finetune` gives them.
        config: phases, batch size and layer map.
        data: the task with its rows.
        epochs: passes over the rows, one number for each phase.
        seed: seeds head, maps between widths and data order.
        directory: for checkpoints, phase results and metrics; None keeps nothing.
        name: shown in progress lines and errors.
        progress: receives progress lines.
        trainer: how to train.
        monitor: what watches.

    Returns:
        Parameters of encoder and head.

    Raises:
        DivergedError: the loss is not finite.
        StageError: the student has more layers than the teacher.
    """
    run = _Run(student, teacher, config, data, seed, directory, name, progress, trainer, monitor)
    params: dict[str, Any] = {"student": initial_params(student, encoder_params, data.task, seed)}
    params |= init_projections(student, teacher.encoder, Objective.of(config.phases), seed)
    for phase, passes in zip(config.phases, epochs, strict=True):
        result = directory / phase.name / "result" if directory else None
        damage = checkpoints.damage(result) if result is not None and result.exists() else None
        if damage:
            progress(f"{name}: the result of phase {phase.name!r} is damaged and is made again: {damage}")
        if result is not None and result.exists() and not damage:
            params = checkpoints.restore(result, params)
            continue
        # A map between widths that the phase has no use for stays as it is.
        held = {"student", *Objective.of([phase]).projections} & params.keys()
        params = params | run.train(phase, passes, {part: params[part] for part in held})
        if result is not None:
            checkpoints.save(result, params)
    return params["student"]


@dataclass(frozen=True)
class _Run:
    """What the phases of one distillation share; the arguments of `distill_task`."""

    student: EncoderConfig
    teacher: Teacher
    config: TaskDistillConfig
    data: TaskData
    seed: int
    directory: Path | None
    name: str
    progress: Callable[[str], None]
    trainer: TrainerConfig
    monitor: Monitor

    def train(self, phase: TaskPhaseConfig, epochs: float, params: Any) -> Any:
        """Runs the steps of a phase and gives the parameters back."""
        data, teacher, batch_size = self.data, self.teacher, self.config.batch_size
        head, objective, rows = task_head(data.task), Objective.of([phase]), data.chosen(phase)
        depth = self.student.num_hidden_layers
        layers = layer_map(self.config.layer_map, depth, teacher.encoder.num_hidden_layers)
        step, direction = _program(
            head, self.student, layers, objective, phase.optimizer.without_schedule, self.trainer
        )
        factors = rate_factors(params, phase, 0, depth)
        settings = objective.settings(phase, stage_weights(phase, 0, depth))
        needs, total = teacher_needs(head.kind, objective), phase_steps(phase, epochs, rows.num_rows, batch_size)

        def inputs(number: int) -> tuple[Any, Any, dict[str, Any]]:
            indices = token_arrays.batch_indices(rows.num_rows, batch_size, number, self.seed)
            batch = task_batch(data.task, rows, indices, data.length, data.pad_id)
            target = _teacher_outputs(head, teacher.encoder, teacher.params, batch, needs, self.trainer.compute_dtype)
            rate = np.float32(learning_rate(phase.optimizer, number, total))
            return (batch, target), jax.tree.map(lambda factor: factor * rate, factors), settings

        folder = self.directory / phase.name if self.directory else None
        state, _ = fit(
            init_state(params, direction),
            step,
            inputs,
            total,
            name=f"{self.name} {phase.name}",
            directory=folder,
            checkpoint_every=self.config.checkpoint_every,
            log_every=self.trainer.log_every,
            progress=self.progress,
            hooks=self.monitor.hooks(f"{self.name} {phase.name}", self.progress, folder),
            steps_per_dispatch=self.trainer.steps_per_dispatch,
            describe_batch=lambda number: describe_rows(rows, batch_size, number, self.seed),
            flops_per_step=training_flops(self.student, batch_size, data.length, 0, teacher.encoder),
            peak_flops=self.monitor.peak_flops,
        )
        return state.params
