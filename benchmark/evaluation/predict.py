"""Predictions of a fine-tuned model; `benchmark.evaluation.score` scores them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import jax
import numpy as np

from benchmark.training.batches import make_batch
from benchmark.training.finetune import TaskHead, task_head, task_model

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig
    from benchmark.models.trees import Params
    from tasks.arrays import token_arrays
    from tasks.catalogue import TaskInfo


@partial(jax.jit, static_argnums=(0, 1))
def _forward(encoder: EncoderConfig, head: TaskHead, params: Params, batch: dict[str, jax.Array]) -> jax.Array:
    return task_model(encoder, head).apply(
        {"params": params}, batch["input_ids"], batch["attention_mask"], batch["token_type_ids"]
    )


def predict(
    encoder: EncoderConfig,
    params: Params,
    task: TaskInfo,
    rows: token_arrays.TokenArrays,
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
        outputs.append(np.asarray(_forward(encoder, task_head(task), params, inputs)))
    values = np.concatenate(outputs)[: rows.num_rows]
    if task.kind == "classification":
        return values[:, : task.num_labels]
    return values[:, 0] if task.kind == "regression" else values
