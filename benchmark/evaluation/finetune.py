"""Fine-tuning and prediction of one task: token arrays in, outputs out; `benchmark.evaluation.score` scores them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmark.config import EncoderConfig, FinetuneConfig, TrainerConfig
from benchmark.models.heads import SequenceModel, SpanModel
from benchmark.training import checkpoints
from benchmark.training.fit import fit
from benchmark.training.initial import init_tree
from benchmark.training.optimizers import learning_rate, make_direction
from benchmark.training.pretrain import describe_rows
from benchmark.training.state import DEFAULTS, init_state, make_train_step
from tasks import arrays
from tasks.catalogue import TaskInfo

CLASS_OUTPUTS = (
    3  # every classification head has room for GLUE's largest label set, so that tasks share one compiled program
)


def task_model(encoder: EncoderConfig, kind: str, compute_dtype: str = "float32") -> SequenceModel | SpanModel:
    """Encoder with the head of a kind of task."""
    dtype = jnp.dtype(compute_dtype)
    if kind == "span":
        return SpanModel(encoder, dtype=dtype)
    return SequenceModel(encoder, CLASS_OUTPUTS if kind == "classification" else 1, dtype=dtype)


def label_bias(task: TaskInfo) -> np.ndarray:
    """0 for the labels a task has and -1e9 for unused outputs, which softmax and gradient ignore: `[CLASS_OUTPUTS]`."""
    return np.where(np.arange(CLASS_OUTPUTS) < task.num_labels, 0.0, -1e9).astype(np.float32)


def without_unused_outputs(params: Any, task: TaskInfo) -> Any:
    """The parameters of a fine-tuned model whose classification head has the task's labels alone."""
    if task.kind != "classification":
        return params
    head = params["classifier"]
    return params | {"classifier": {name: values[..., : task.num_labels] for name, values in head.items()}}


def initial_params(encoder: EncoderConfig, encoder_params: Any, kind: str, seed: int) -> Any:
    """A copy of an encoder's parameters, which a train step may take over, with a fresh head."""
    params = init_tree(task_model(encoder, kind), encoder, seed, num_inputs=3)
    return params | {"encoder": jax.tree.map(jnp.array, encoder_params)}


def restore_params(path: Path, encoder: EncoderConfig, task: TaskInfo) -> Any:
    """Reads parameters that were kept `without_unused_outputs`, and adds those outputs, all 0.

    Raises:
        FileNotFoundError: there are none at `path`.
        ValueError: they are of another architecture or task.
    """
    like = init_tree(task_model(encoder, task.kind), encoder, 0, num_inputs=3)
    params = checkpoints.restore(path, without_unused_outputs(like, task))
    if task.kind != "classification":
        return params
    missing = CLASS_OUTPUTS - task.num_labels
    head = {name: np.pad(v, [(0, 0)] * (v.ndim - 1) + [(0, missing)]) for name, v in params["classifier"].items()}
    return params | {"classifier": head}


def _loss(encoder: EncoderConfig, kind: str, compute_dtype: str) -> Callable[..., Any]:
    model = task_model(encoder, kind, compute_dtype)

    def loss(params: Any, batch: dict[str, jax.Array], settings: dict[str, Any]) -> tuple[jax.Array, dict]:
        outputs = model.apply({"params": params}, batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        if kind == "classification":
            value = cross_entropy(outputs + settings["label_bias"], batch["label"]).mean()
        elif kind == "regression":
            value = jnp.square(outputs[:, 0] - batch["label"]).mean()
        else:
            start = cross_entropy(outputs[..., 0], batch["start_position"])
            end = cross_entropy(outputs[..., 1], batch["end_position"])
            value = 0.5 * (start + end).mean()
        return value, {}

    return loss


@lru_cache(maxsize=8)
def train_step(encoder: EncoderConfig, kind: str, config: FinetuneConfig, trainer: TrainerConfig) -> tuple[Any, Any]:
    """One compiled step for all tasks of a kind, all seeds and all schedules, and its optimiser."""
    direction = make_direction(config.optimizer)
    loss, parts = _loss(encoder, kind, trainer.compute_dtype), trainer.gradient_accumulation_steps
    return make_train_step(loss, direction, accumulation_steps=parts), direction


@partial(jax.jit, static_argnums=(0, 1))
def _forward(encoder: EncoderConfig, kind: str, params: Any, batch: dict[str, jax.Array]) -> jax.Array:
    return task_model(encoder, kind).apply(
        {"params": params}, batch["input_ids"], batch["attention_mask"], batch["token_type_ids"]
    )


def used_length(rows: arrays.TokenArrays, pad_id: int, multiple: int) -> int:
    """Columns that hold anything but padding, rounded up; the rest need not be computed."""
    used = np.flatnonzero((np.asarray(rows.features["input_ids"]) != pad_id).any(axis=0))
    longest = int(used[-1]) + 1 if used.size else 1
    return min(rows.features["input_ids"].shape[1], math.ceil(longest / multiple) * multiple)


def make_batch(rows: arrays.TokenArrays, indices: np.ndarray, length: int, pad_id: int) -> dict[str, np.ndarray]:
    """Rows `indices` cut to `length` columns, with `attention_mask`; integers are int32, regression labels float32."""
    batch = {}
    for name in ("input_ids", "token_type_ids", "label", "start_position", "end_position"):
        if name in rows.features:
            values = np.asarray(rows.features[name][indices])
            values = values if np.issubdtype(values.dtype, np.floating) else values.astype(np.int32)
            batch[name] = values[:, :length] if values.ndim == 2 else values
    batch["attention_mask"] = (batch["input_ids"] != pad_id).astype(np.int32)
    return batch


def finetune_steps(config: FinetuneConfig, epochs: float, num_rows: int) -> int:
    """Steps of one fine-tuning run."""
    steps = math.ceil(epochs * num_rows / config.batch_size)
    return min(steps, config.max_steps) if config.max_steps else steps


def finetune(
    encoder: EncoderConfig,
    encoder_params: Any,
    task: TaskInfo,
    rows: arrays.TokenArrays,
    length: int,
    pad_id: int,
    config: FinetuneConfig,
    epochs: float,
    seed: int,
    name: str,
    trainer: TrainerConfig = DEFAULTS,
) -> Any:
    """Fine-tunes an encoder on one task, all parameters, from a fresh head.

    Args:
        encoder: architecture.
        encoder_params: pretrained parameters of the encoder; they are not changed.
        task: the task.
        rows: materialised training rows.
        length: columns to use, as `used_length` gives them.
        pad_id: id of padding.
        config: batch size, optimiser, limit of steps.
        epochs: passes over the rows.
        seed: seeds head and data order.
        name: shown in errors.
        trainer: how to train.

    Returns:
        Parameters of encoder and head.
    """
    step, direction = train_step(encoder, task.kind, config, trainer)
    # A copy: the train step donates its state, and the caller's parameters serve other seeds and tasks.
    params = initial_params(encoder, encoder_params, task.kind, seed)
    total = finetune_steps(config, epochs, rows.num_rows)
    settings = {"label_bias": label_bias(task)} if task.kind == "classification" else {}

    def inputs(number: int) -> tuple[Any, Any, dict[str, Any]]:
        indices = arrays.batch_indices(rows.num_rows, config.batch_size, number, seed)
        rate = np.float32(learning_rate(config.optimizer, number, total))
        return make_batch(rows, indices, length, pad_id), rate, settings

    state, _ = fit(
        init_state(params, direction),
        step,
        inputs,
        total,
        name=name,
        log_every=total,
        steps_per_dispatch=trainer.steps_per_dispatch,
        describe_batch=lambda number: describe_rows(rows, config.batch_size, number, seed),
    )
    return state.params


def predict(
    encoder: EncoderConfig,
    params: Any,
    task: TaskInfo,
    rows: arrays.TokenArrays,
    length: int,
    pad_id: int,
    batch_size: int = 128,
) -> np.ndarray:
    """Runs a fine-tuned model over rows.

    Returns:
        Classification: logits `[rows, labels]`; regression: values `[rows]`; span: logits `[rows, length, 2]`.
    """
    outputs = []
    for start in range(0, rows.num_rows, batch_size):
        # The last batch repeats its last row, so that one compiled shape serves all; the repeats are cut off below.
        indices = np.minimum(np.arange(start, start + batch_size), rows.num_rows - 1)
        batch = make_batch(rows, indices, length, pad_id)
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
        outputs.append(np.asarray(_forward(encoder, task.kind, params, inputs)))
    values = np.concatenate(outputs)[: rows.num_rows]
    if task.kind == "classification":
        return values[:, : task.num_labels]
    return values[:, 0] if task.kind == "regression" else values
