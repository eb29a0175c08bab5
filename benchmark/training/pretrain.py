"""Masked-LM pretraining from scratch, and the evaluation that every masked-LM accuracy of this project comes from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from benchmark.config import EncoderConfig, PretrainConfig
from benchmark.models.heads import MaskedLM
from benchmark.training import partitioning
from benchmark.training.fit import FitReport, fit
from benchmark.training.initial import init_tree
from benchmark.training.masking import MaskedBatch, SpecialTokens, mask_tokens
from benchmark.training.optimizers import learning_rate, make_direction
from benchmark.training.state import init_state, make_train_step
from tasks import arrays


def init_params(encoder: EncoderConfig, seed: int) -> Any:
    """Random parameters of an encoder with masked-LM head, as arrays of the host."""
    return init_tree(MaskedLM(encoder), encoder, seed, num_inputs=4)


def masked_lm_loss(encoder: EncoderConfig) -> Callable[..., Any]:
    """Loss function of plain masked-LM training, for `make_train_step`."""
    model = MaskedLM(encoder)

    def loss(params: Any, b: MaskedBatch, settings: dict[str, Any]) -> tuple[jax.Array, dict[str, jax.Array]]:
        del settings
        logits, _ = model.apply({"params": params}, b.input_ids, b.attention_mask, b.token_type_ids, b.positions)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, b.labels)
        total = jnp.maximum(b.weights.sum(), 1.0)
        correct = (logits.argmax(-1) == b.labels) * b.weights
        return (losses * b.weights).sum() / total, {"masked_lm_accuracy": correct.sum() / total}

    return loss


def pretrain(
    encoder: EncoderConfig,
    config: PretrainConfig,
    rows: arrays.TokenArrays,
    special: SpecialTokens,
    seed: int,
    directory: Path,
    progress: Callable[[str], None],
    *,
    mesh: Mesh | None = None,
) -> tuple[Any, FitReport]:
    """Trains an encoder from scratch on token rows.

    Args:
        encoder: architecture.
        config: steps, batch size, optimiser.
        rows: materialised `input_ids`, and `token_type_ids` where rows are sentence pairs, `[rows, length]`.
        special: ids of the vocabulary.
        seed: seeds initial values, data order and masking.
        directory: for checkpoints and metrics.
        progress: receives progress lines.
        mesh: the devices to train on; None for one.

    Returns:
        Parameters (encoder and masked-LM head) and the fit report.
    """
    partitioning.check_batch(mesh, "PretrainConfig.batch_size", config.batch_size)
    key = jax.random.key(seed)
    direction = make_direction(config.optimizer)
    state = init_state(init_params(encoder, seed), direction)
    step = make_train_step(masked_lm_loss(encoder), direction, mesh=mesh)

    def inputs(number: int) -> tuple[Any, Any, dict[str, Any]]:
        ids, types = take_rows(rows, config.batch_size, number, seed, mesh)
        batch = mask_tokens(jax.random.fold_in(key, number), ids, special, config.mask_rate, types)
        return partitioning.divide_rows(mesh, batch), np.float32(learning_rate(config.optimizer, number, config.steps)), {}

    state, report = fit(
        state,
        step,
        inputs,
        config.steps,
        name="teacher",
        directory=directory,
        checkpoint_every=config.checkpoint_every,
        progress=progress,
        mesh=mesh,
    )
    return state.params, report


def take_rows(
    rows: arrays.TokenArrays, batch_size: int, step: int, seed: int, mesh: Mesh | None = None
) -> tuple[Any, Any | None]:
    """Ids and token types (None where rows are single texts) of one step, in the order that `seed` gives.

    Each process of a distributed run reads its own share of the batch.

    Returns:
        Two arrays `[batch_size, length]`, int32 and uint8: of the host, or divided among the devices of the mesh.
    """
    indices = arrays.batch_indices(rows.num_rows, batch_size, step, seed)[partitioning.own_rows(mesh, batch_size)]
    types = np.asarray(rows.features["token_type_ids"][indices]) if "token_type_ids" in rows.features else None
    ids = np.asarray(rows.features["input_ids"][indices]).astype(np.int32)
    return partitioning.place_rows(mesh, (ids, types), batch_size)


@partial(jax.jit, static_argnums=0)
def _evaluate_batch(encoder: EncoderConfig, params: Any, b: MaskedBatch) -> tuple[jax.Array, jax.Array, jax.Array]:
    logits, _ = MaskedLM(encoder).apply(
        {"params": params}, b.input_ids, b.attention_mask, b.token_type_ids, b.positions
    )
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, b.labels)
    correct = (logits.argmax(-1) == b.labels) * b.weights
    return (losses * b.weights).sum(), correct.sum(), b.weights.sum()


def evaluate_masked_lm(
    encoder: EncoderConfig,
    params: Any,
    rows: arrays.TokenArrays,
    special: SpecialTokens,
    mask_rate: float,
    batch_size: int = 64,
    mesh: Mesh | None = None,
) -> dict[str, float]:
    """Masked-LM accuracy and loss on held-out rows; the masks are the same for every model and on every mesh.

    Returns:
        `accuracy` in percent, its standard error `accuracy_stderr` in percentage points (binomial), mean `loss` in
        nats, and the number of `predictions`.
    """
    totals = np.zeros(3)
    params, own = partitioning.place(mesh, params), partitioning.own_rows(mesh, batch_size)
    for number, start in enumerate(range(0, rows.num_rows, batch_size)):
        indices = (start + own)[start + own < rows.num_rows]
        ids = np.asarray(rows.features["input_ids"][indices]).astype(np.int32)
        missing = ((0, len(own) - len(ids)), (0, 0))
        types = None
        if "token_type_ids" in rows.features:
            types = np.pad(np.asarray(rows.features["token_type_ids"][indices]), missing)
        ids = np.pad(ids, missing, constant_values=special.pad_id)
        ids, types = partitioning.place_rows(mesh, (ids, types), batch_size)
        # A key that no training run uses: masks of the evaluation depend on the row alone.
        key = jax.random.fold_in(jax.random.key(20220121), number)
        batch = partitioning.divide_rows(mesh, mask_tokens(key, ids, special, mask_rate, types))
        totals += np.asarray([float(v) for v in _evaluate_batch(encoder, params, batch)])
    accuracy = totals[1] / totals[2]
    return {
        "accuracy": float(100.0 * accuracy),
        "accuracy_stderr": 100.0 * float(np.sqrt(accuracy * (1.0 - accuracy) / totals[2])),
        "loss": float(totals[0] / totals[2]),
        "predictions": int(totals[2]),
    }
