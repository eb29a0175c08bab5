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

from benchmark.config import EncoderConfig, PretrainConfig, TrainerConfig
from benchmark.models.heads import MaskedLM
from benchmark.training.fit import FitReport, fit
from benchmark.training.hooks import Monitor
from benchmark.training.initial import init_tree
from benchmark.training.masking import MaskedBatch, SpecialTokens, mask_tokens, num_predictions
from benchmark.training.metrics import training_flops
from benchmark.training.optimizers import learning_rate, make_direction
from benchmark.training.state import Mean, init_state, make_train_step
from tasks import arrays


def init_params(encoder: EncoderConfig, seed: int) -> Any:
    """Random parameters of an encoder with masked-LM head, as arrays of the host."""
    return init_tree(MaskedLM(encoder), encoder, seed, num_inputs=4)


def masked_lm_loss(encoder: EncoderConfig, compute_dtype: str = "float32") -> Callable[..., Any]:
    """Loss function of plain masked-LM training, for `make_train_step`; the batch is a `MaskedBatch`."""
    model = MaskedLM(encoder, dtype=jnp.dtype(compute_dtype))

    def loss(params: Any, b: MaskedBatch, settings: dict[str, Any]) -> tuple[dict[str, Mean], dict[str, Mean]]:
        del settings
        logits, _ = model.apply({"params": params}, b.input_ids, b.attention_mask, b.token_type_ids, b.positions)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, b.labels)
        count = b.weights.sum()
        total = jnp.maximum(count, 1.0)
        correct = (logits.argmax(-1) == b.labels) * b.weights
        return (
            {"masked_lm": Mean((losses * b.weights).sum() / total, count)},
            {"masked_lm_accuracy": Mean(correct.sum() / total, count)},
        )

    return loss


def count_tokens(batch: MaskedBatch) -> jax.Array:
    """Tokens of a batch that are not padding."""
    return batch.attention_mask.sum()


def describe_rows(rows: arrays.TokenArrays, batch_size: int, step: int, seed: int, shown: int = 16) -> str:
    """Words for the batch of a step: its number and the rows that it is made of, as `take_rows` takes them."""
    indices = arrays.batch_indices(rows.num_rows, batch_size, step, seed)
    more = f" and {batch_size - shown} more" if batch_size > shown else ""
    return f"batch {step} (rows {', '.join(map(str, indices[:shown]))}{more})"


def pretrain(
    encoder: EncoderConfig,
    config: PretrainConfig,
    rows: arrays.TokenArrays,
    special: SpecialTokens,
    seed: int,
    directory: Path,
    progress: Callable[[str], None],
    *,
    trainer: TrainerConfig = TrainerConfig(),
    monitor: Monitor = Monitor(),
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
        trainer: how to train.
        monitor: what watches.

    Returns:
        Parameters (encoder and masked-LM head) and the fit report.
    """
    key = jax.random.key(seed)
    direction = make_direction(config.optimizer)
    state = init_state(init_params(encoder, seed), direction)
    step = make_train_step(
        masked_lm_loss(encoder, trainer.compute_dtype),
        direction,
        accumulation_steps=trainer.gradient_accumulation_steps,
        count_tokens=count_tokens,
    )
    length = rows.features["input_ids"].shape[1]

    def inputs(number: int) -> tuple[Any, Any, dict[str, Any]]:
        ids, types = take_rows(rows, config.batch_size, number, seed)
        batch = mask_tokens(jax.random.fold_in(key, number), ids, special, config.mask_rate, types)
        return batch, np.float32(learning_rate(config.optimizer, number, config.steps)), {}

    state, report = fit(
        state,
        step,
        inputs,
        config.steps,
        name="teacher",
        directory=directory,
        checkpoint_every=config.checkpoint_every,
        log_every=trainer.log_every,
        progress=progress,
        hooks=monitor.hooks("teacher", progress),
        steps_per_dispatch=trainer.steps_per_dispatch,
        describe_batch=lambda number: describe_rows(rows, config.batch_size, number, seed),
        flops_per_step=training_flops(encoder, config.batch_size, length, num_predictions(length, config.mask_rate)),
        peak_flops=monitor.peak_flops,
    )
    return state.params, report


def take_rows(rows: arrays.TokenArrays, batch_size: int, step: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Ids and token types (None where rows are single texts) of one step, in the order that `seed` gives.

    Each process of a distributed run reads its own share of the batch.

    Returns:
        Two arrays `[batch_size / processes, length]`, int32 and uint8.
    """
    share = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    indices = arrays.batch_indices(rows.num_rows, batch_size, step, seed, **share)
    types = np.asarray(rows.features["token_type_ids"][indices]) if "token_type_ids" in rows.features else None
    return np.asarray(rows.features["input_ids"][indices]).astype(np.int32), types


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
) -> dict[str, float]:
    """Masked-LM accuracy and loss on held-out rows; the masks are the same for every model.

    Returns:
        `accuracy` in percent, its standard error `accuracy_stderr` in percentage points (binomial), mean `loss` in
        nats, and the number of `predictions`.
    """
    totals = np.zeros(3)
    for number, start in enumerate(range(0, rows.num_rows, batch_size)):
        ids = np.asarray(rows.features["input_ids"][start : start + batch_size]).astype(np.int32)
        missing = ((0, batch_size - len(ids)), (0, 0))
        types = None
        if "token_type_ids" in rows.features:
            types = np.pad(np.asarray(rows.features["token_type_ids"][start : start + batch_size]), missing)
        ids = np.pad(ids, missing, constant_values=special.pad_id)
        # A key that no training run uses: masks of the evaluation depend on the row alone.
        key = jax.random.fold_in(jax.random.key(20220121), number)
        batch = mask_tokens(key, ids, special, mask_rate, types)
        totals += np.asarray([float(v) for v in _evaluate_batch(encoder, params, batch)])
    accuracy = totals[1] / totals[2]
    return {
        "accuracy": float(100.0 * accuracy),
        "accuracy_stderr": 100.0 * float(np.sqrt(accuracy * (1.0 - accuracy) / totals[2])),
        "loss": float(totals[0] / totals[2]),
        "predictions": int(totals[2]),
    }
