"""Pretraining from scratch (masked LM, and next sentence where rows are pairs), and its evaluation.

Every masked-LM accuracy of this project comes from `evaluate_masked_lm`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from benchmark.config import EncoderConfig, PretrainConfig, TrainerConfig
from benchmark.models.gradients import cross_entropy
from benchmark.models.heads import MaskedLM
from benchmark.training import checkpoints, partitioning
from benchmark.training.fit import FitReport, fit
from benchmark.training.hooks import UNWATCHED, Monitor
from benchmark.training.initial import init_tree, shapes
from benchmark.training.masking import MaskedBatch, SpecialTokens, mask_tokens, num_predictions
from benchmark.training.metrics import training_flops
from benchmark.training.optimizers import learning_rate, make_direction
from benchmark.training.state import DEFAULTS, Mean, init_state, make_train_step
from tasks import arrays


class RowBatch(NamedTuple):
    """Rows of token arrays; the last two are None where rows are single texts.

    Attributes:
        input_ids: `[batch, length]`, int32.
        token_type_ids: 0 for the first sentence and 1 for the second, `[batch, length]`, uint8.
        next_sentence_labels: as in `MaskedBatch`, `[batch]`, int32.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray | None
    next_sentence_labels: np.ndarray | None


def init_params(encoder: EncoderConfig, seed: int, *, next_sentence: bool = False) -> Any:
    """Random parameters of an encoder with masked-LM head, and if asked for next-sentence head, on the host."""
    return init_tree(MaskedLM(encoder, next_sentence=next_sentence), encoder, seed, num_inputs=4)


def param_shapes(encoder: EncoderConfig, *, next_sentence: bool = False) -> Any:
    """Shapes of what `init_params` gives."""
    return shapes(MaskedLM(encoder, next_sentence=next_sentence), num_inputs=4)


def load_params(path: Path, encoder: EncoderConfig) -> Any:
    """Reads parameters that `pretrain` or a distillation gave, with the heads that they have.

    Args:
        path: a checkpoint.
        encoder: architecture.

    Raises:
        ValueError: the checkpoint is of another architecture.
        FileNotFoundError: there is no checkpoint at `path`.
    """
    pairs = "next_sentence" in checkpoints.names(path)
    return checkpoints.restore(path, init_params(encoder, 0, next_sentence=pairs))


def next_sentence_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """`mean -log softmax(logits)_label` of next-sentence prediction (BERT, arXiv 1810.04805, section 3.1).

    Args:
        logits: `[batch, 2]`.
        labels: 0 where the second part of a row follows the first, 1 where it is a random one, -1 for a row that does
            not count, `[batch]`.

    Returns:
        The mean over rows that count, a scalar.
    """
    counts = labels >= 0
    logits = jnp.where(counts[:, None], logits, 0.0)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
    return (losses * counts).sum() / jnp.maximum(counts.sum(), 1)


def masked_lm_loss(
    encoder: EncoderConfig, *, next_sentence: bool = False, compute_dtype: str = "float32"
) -> Callable[..., Any]:
    """Loss function of pretraining, for `make_train_step`: masked LM, plus next sentence with weight 1.

    The batch is a `MaskedBatch`. Both are mean cross-entropies against hard labels, as in BERT (arXiv 1810.04805,
    appendix A.2).
    """
    model = MaskedLM(encoder, dtype=jnp.dtype(compute_dtype), next_sentence=next_sentence)

    def loss(params: Any, b: MaskedBatch, settings: dict[str, Any]) -> tuple[dict[str, Mean], dict[str, Mean]]:
        del settings
        output = model.apply({"params": params}, b.input_ids, b.attention_mask, b.token_type_ids, b.positions)
        losses = cross_entropy(output.logits, b.labels)
        count = b.weights.sum()
        total = jnp.maximum(count, 1.0)
        chosen = jnp.take_along_axis(output.logits, b.labels[..., None], axis=-1)[..., 0]
        correct = (chosen >= output.logits.max(-1)) * b.weights
        terms = {"masked_lm": Mean((losses * b.weights).sum() / total, count)}
        metrics = {"masked_lm_accuracy": Mean(correct.sum() / total, count)}
        if next_sentence:
            assert b.next_sentence_labels is not None
            pairs, labels = output.next_sentence_logits, b.next_sentence_labels
            counted = labels >= 0
            terms["next_sentence"] = Mean(next_sentence_loss(pairs, labels), counted.sum())
            share = (pairs.argmax(-1) == labels).sum() / jnp.maximum(counted.sum(), 1)
            metrics["next_sentence_accuracy"] = Mean(share, counted.sum())
        return terms, metrics

    return loss


def count_tokens(batch: MaskedBatch) -> jax.Array:
    """Tokens of a batch that are not padding."""
    return batch.attention_mask.sum()


def describe_rows(rows: arrays.TokenArrays, batch_size: int, step: int, seed: int, shown: int = 16) -> str:
    """Words for the batch of a step: its number and the rows that it is made of, as `take_rows` takes them."""
    indices = arrays.batch_indices(rows.num_rows, batch_size, step, seed)
    more = f" and {batch_size - shown} more" if batch_size > shown else ""
    return f"batch {step} (rows {', '.join(map(str, indices[:shown]))}{more})"


def pretrain_program(
    encoder: EncoderConfig,
    config: PretrainConfig,
    *,
    next_sentence: bool,
    trainer: TrainerConfig = DEFAULTS,
    mesh: Mesh | None = None,
) -> tuple[Any, Any]:
    """The jitted step of pretraining, and its optimiser without learning rate. The batch is a `MaskedBatch`."""
    direction = make_direction(config.optimizer)
    step = make_train_step(
        masked_lm_loss(encoder, next_sentence=next_sentence, compute_dtype=trainer.compute_dtype),
        direction,
        accumulation_steps=trainer.gradient_accumulation_steps,
        count_tokens=count_tokens,
        mesh=mesh,
    )
    return step, direction


def pretrain(
    encoder: EncoderConfig,
    config: PretrainConfig,
    rows: arrays.TokenArrays,
    special: SpecialTokens,
    seed: int,
    directory: Path,
    progress: Callable[[str], None],
    *,
    trainer: TrainerConfig = DEFAULTS,
    monitor: Monitor = UNWATCHED,
    mesh: Mesh | None = None,
) -> tuple[Any, FitReport]:
    """Trains an encoder from scratch on token rows.

    Args:
        encoder: architecture.
        config: steps, batch size, optimiser.
        rows: materialised `input_ids`, `[rows, length]`; of sentence pairs also `token_type_ids` and
            `next_sentence_label`, `[rows]`, which the model then learns to predict too.
        special: ids of the vocabulary.
        seed: seeds initial values, data order and masking.
        directory: for checkpoints and metrics.
        progress: receives progress lines.
        trainer: how to train.
        monitor: what watches.
        mesh: the devices to train on; None for one.

    Returns:
        Parameters (encoder, masked-LM head and, where rows are pairs, next-sentence head) and the fit report.
    """
    partitioning.check_batch(mesh, "PretrainConfig.batch_size", config.batch_size)
    key = jax.random.key(seed)
    pairs = "next_sentence_label" in rows.features
    step, direction = pretrain_program(encoder, config, next_sentence=pairs, trainer=trainer, mesh=mesh)
    state = init_state(init_params(encoder, seed, next_sentence=pairs), direction)
    length = rows.features["input_ids"].shape[1]

    def inputs(number: int) -> tuple[Any, Any, dict[str, Any]]:
        ids, types, labels = take_rows(rows, config.batch_size, number, seed, mesh)
        batch = mask_tokens(jax.random.fold_in(key, number), ids, special, config.mask_rate, types, labels)
        batch = partitioning.divide_rows(mesh, batch)
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
        hooks=monitor.hooks("teacher", progress, directory),
        steps_per_dispatch=trainer.steps_per_dispatch,
        describe_batch=lambda number: describe_rows(rows, config.batch_size, number, seed),
        flops_per_step=training_flops(encoder, config.batch_size, length, num_predictions(length, config.mask_rate)),
        peak_flops=monitor.peak_flops,
        mesh=mesh,
    )
    return state.params, report


def take_rows(rows: arrays.TokenArrays, batch_size: int, step: int, seed: int, mesh: Mesh | None = None) -> RowBatch:
    """The rows of one step, in the order that `seed` gives, divided among the devices of the mesh.

    Each process of a distributed run reads its own share of the batch.
    """
    indices = arrays.batch_indices(rows.num_rows, batch_size, step, seed)
    own = _row_batch(rows, indices[partitioning.own_rows(mesh, batch_size)])
    return partitioning.place_rows(mesh, own, batch_size)


def _row_batch(rows: arrays.TokenArrays, indices: np.ndarray) -> RowBatch:
    ids = np.asarray(rows.features["input_ids"][indices]).astype(np.int32)
    types, labels = (
        np.asarray(rows.features[name][indices]) if name in rows.features else None
        for name in ("token_type_ids", "next_sentence_label")
    )
    return RowBatch(ids, types, None if labels is None else labels.astype(np.int32))


@partial(jax.jit, static_argnums=0)
def _evaluate_batch(encoder: EncoderConfig, params: Any, b: MaskedBatch) -> dict[str, jax.Array]:
    """Sums over a batch."""
    pairs = "next_sentence" in params and b.next_sentence_labels is not None
    output = MaskedLM(encoder, next_sentence=pairs).apply(
        {"params": params}, b.input_ids, b.attention_mask, b.token_type_ids, b.positions
    )
    losses = optax.softmax_cross_entropy_with_integer_labels(output.logits, b.labels)
    correct = (output.logits.argmax(-1) == b.labels) * b.weights
    sums = {"loss": (losses * b.weights).sum(), "correct": correct.sum(), "predictions": b.weights.sum()}
    if pairs:
        sums["correct_pairs"] = (output.next_sentence_logits.argmax(-1) == b.next_sentence_labels).sum()
    return sums


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
        nats, and the number of `predictions`; `next_sentence_accuracy` in percent where rows are sentence pairs and the
        model has that head.
    """
    totals: dict[str, float] = {}
    params, own = partitioning.place(mesh, params), partitioning.own_rows(mesh, batch_size)
    for number, start in enumerate(range(0, rows.num_rows, batch_size)):
        ids, types, labels = _row_batch(rows, (start + own)[start + own < rows.num_rows])
        # The last batch is filled up, so that one compiled shape serves all; nothing in the fillers is predicted.
        missing = len(own) - len(ids)
        ids = np.pad(ids, ((0, missing), (0, 0)), constant_values=special.pad_id)
        types = None if types is None else np.pad(types, ((0, missing), (0, 0)))
        labels = None if labels is None else np.pad(labels, (0, missing), constant_values=-1)
        ids, types, labels = partitioning.place_rows(mesh, (ids, types, labels), batch_size)
        # A key that no training run uses: masks of the evaluation depend on the row alone.
        key = jax.random.fold_in(jax.random.key(20220121), number)
        batch = partitioning.divide_rows(mesh, mask_tokens(key, ids, special, mask_rate, types, labels))
        for name, value in _evaluate_batch(encoder, params, batch).items():
            totals[name] = totals.get(name, 0.0) + float(value)
    accuracy = totals["correct"] / totals["predictions"]
    scores = {
        "accuracy": 100.0 * accuracy,
        "accuracy_stderr": 100.0 * float(np.sqrt(accuracy * (1.0 - accuracy) / totals["predictions"])),
        "loss": totals["loss"] / totals["predictions"],
        "predictions": int(totals["predictions"]),
    }
    if "correct_pairs" in totals:
        scores["next_sentence_accuracy"] = 100.0 * totals["correct_pairs"] / rows.num_rows
    return scores
