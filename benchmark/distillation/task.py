"""Task-specific distillation: a distilled student learns a task from the fine-tuned teacher.

Source: TinyBERT, arXiv 1909.10351, section 3.2, and its released program (`task_distill.py`). The phases are data, as
in a recipe: first the layers, then the predictions. All tasks with a head and all seeds share a compiled step.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from benchmark.distillation.initial import init_projections
from benchmark.distillation.layer_maps import layer_map
from benchmark.distillation.objectives import FUNCTIONS, PhaseObjective, loss_function
from benchmark.distillation.outputs import BATCH_AXES, Needs, Outputs, select_outputs
from benchmark.distillation.phases import Phase, run_phase
from benchmark.training.batches import TaskData, describe_rows, make_batch
from benchmark.training.finetune import TaskHead, initial_params, label_bias, task_head, task_model
from benchmark.training.metrics import training_flops
from benchmark.training.optimizers import make_optimizer
from benchmark.training.state import make_train_step
from tasks.arrays import token_arrays

if TYPE_CHECKING:
    import optax

    from benchmark.config import EncoderConfig, OptimizerConfig, TaskDistillConfig, TaskPhaseConfig, TrainerConfig
    from benchmark.distillation.teacher_cache import Teacher
    from benchmark.models.trees import Params
    from benchmark.training.job import TrainingJob
    from benchmark.training.state import Settings, TrainStep
    from tasks.catalogue import TaskInfo

# On the host before a step, on the device within it.
Array: TypeAlias = "jax.Array | np.ndarray"


class TaskBatch(NamedTuple):
    """Rows of a task, all with a leading batch axis.

    Attributes:
        input_ids: `[batch, length]`.
        attention_mask: 1 for tokens and 0 for padding, `[batch, length]`.
        token_type_ids: `[batch, length]`.
        weights: ones, one for each distribution that is predicted: `[batch]`, or `[batch, 2]` for start and end.
        label: number that a regression predicts, `[batch]`; None for other tasks.
        label_bias: `label_bias` of a classification for each row, `[batch, TaskHead.outputs]`; None for other tasks.
    """

    input_ids: Array
    attention_mask: Array
    token_type_ids: Array
    weights: Array
    label: Array | None = None
    label_bias: Array | None = None


def task_batch(
    task: TaskInfo, rows: token_arrays.TokenArrays, indices: np.ndarray, length: int, pad_id: int
) -> TaskBatch:
    """Takes rows `indices` of a task, cut to `length` columns."""
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
    head: TaskHead,
    encoder: EncoderConfig,
    params: Params,
    batch: TaskBatch,
    needs: Needs,
    compute_dtype: str = "float32",
) -> Outputs:
    """Runs a model with the head of a task and keeps the outputs in `needs`; `compute_dtype` is that of products.

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
        assert batch.label_bias is not None
        logits = logits + batch.label_bias
    elif head.kind == "span":
        logits = logits.swapaxes(1, 2)
    return select_outputs(needs, result.encoder, logits)


@partial(jax.jit, static_argnums=(0, 1, 4, 5))
def _teacher_outputs(
    head: TaskHead, encoder: EncoderConfig, params: Params, batch: TaskBatch, needs: Needs, compute_dtype: str
) -> Outputs:
    """Runs the teacher's `task_outputs` as a separate program, which all students of a process share."""
    return task_outputs(head, encoder, params, batch, needs, compute_dtype)


def _squared_error(student: jax.Array, teacher: None, batch: TaskBatch, settings: Settings) -> jax.Array:
    """Prediction loss of a regression, against the label, as in the released program; logits `[batch, 1]`."""
    del teacher, settings
    assert batch.label is not None
    return jnp.square(student[:, 0] - batch.label).mean()


@lru_cache(maxsize=16)
def _program(
    head: TaskHead,
    student: EncoderConfig,
    layers: tuple[int, ...],
    objective: PhaseObjective,
    optimizer_config: OptimizerConfig,
    trainer: TrainerConfig,
) -> tuple[TrainStep, optax.GradientTransformation]:
    """Compiles the step of a phase; gives it and its optimizer without learning rate."""
    functions = {**FUNCTIONS, "soft_cross_entropy": _squared_error} if head.kind == "regression" else FUNCTIONS
    loss = loss_function(student, layers, objective, trainer.compute_dtype, partial(task_outputs, head), functions)
    optimizer = make_optimizer(optimizer_config)
    step = make_train_step(
        loss,
        optimizer,
        accumulation_steps=trainer.gradient_accumulation_steps,
        batch_axes=(0, BATCH_AXES),
        count_tokens=lambda batch: batch[0].attention_mask.sum(),
    )
    return step, optimizer


def teacher_needs(kind: str, objective: PhaseObjective) -> Needs:
    """Outputs of the teacher that a phase reads: no logits in a regression, which learns from the labels."""
    needs = objective.teacher_needs
    return needs._replace(logits=False) if kind == "regression" else needs


def phase_steps(phase: TaskPhaseConfig, epochs: float, num_rows: int, batch_size: int) -> int:
    """Number of steps of `epochs` passes over `num_rows` rows, at most `TaskPhaseConfig.steps` if that is set."""
    steps = math.ceil(epochs * num_rows / batch_size)
    return min(steps, phase.steps) if phase.steps else steps


def distill_task(
    student: EncoderConfig,
    start: Params,
    teacher: Teacher,
    config: TaskDistillConfig,
    data: TaskData,
    epochs: tuple[float, ...],
    job: TrainingJob,
) -> Params:
    """Distils one task into one student, from a fresh head.

    Args:
        student: architecture.
        start: parameters of the student, as for `finetune.initial_params`; they are not changed.
        teacher: the teacher, its parameters those of encoder and task head as `finetune` gives them.
        config: phases, batch size and layer map.
        data: the task with its rows.
        epochs: passes over the rows, one number for each phase.
        job: its seed seeds head, maps between widths and data order; results of phases go to its directory.

    Returns:
        Parameters of encoder and head.

    Raises:
        DivergedError: the loss is not finite.
        StageError: the student has more layers than the teacher.
    """
    head, depth = task_head(data.task), student.num_hidden_layers
    layers = layer_map(config.layer_map, depth, teacher.encoder.num_hidden_layers)
    params: Params = {"student": initial_params(student, start, data.task, job.seed)}
    params |= init_projections(student, teacher.encoder, PhaseObjective.from_phases(config.phases), job.seed)
    for settings, passes in zip(config.phases, epochs, strict=True):
        objective, rows = PhaseObjective.from_phases([settings]), data.chosen(settings)
        optimizer = settings.optimizer.without_schedule
        phase = Phase(
            settings,
            objective,
            *_program(head, student, layers, objective, optimizer, job.trainer),
            num_layers=depth,
            stage_steps=phase_steps(settings, passes, rows.num_rows, config.batch_size),
            batch=partial(_batch, teacher, objective, data, rows, config.batch_size, job),
            describe_batch=partial(describe_rows, rows, config.batch_size, seed=job.seed),
            flops=training_flops(student, config.batch_size, data.length, 0, teacher.encoder),
            constants=None,
            checkpoint_every=config.checkpoint_every,
        )
        params = run_phase(phase, params, job)
    return params["student"]


def _batch(
    teacher: Teacher,
    objective: PhaseObjective,
    data: TaskData,
    rows: token_arrays.TokenArrays,
    batch_size: int,
    job: TrainingJob,
    number: int,
) -> tuple[TaskBatch, Outputs]:
    """Makes the batch of a step: its rows, and the teacher's outputs on them."""
    head = task_head(data.task)
    indices = token_arrays.batch_indices(rows.num_rows, batch_size, number, job.seed)
    batch = task_batch(data.task, rows, indices, data.length, data.pad_id)
    needs, dtype = teacher_needs(head.kind, objective), job.trainer.compute_dtype
    return batch, _teacher_outputs(head, teacher.encoder, teacher.params, batch, needs, dtype)
