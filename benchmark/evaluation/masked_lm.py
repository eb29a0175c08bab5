"""Masked-LM accuracy and loss on held-out rows.

Every masked-LM accuracy of this project comes from `evaluate_masked_lm`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import jax
import numpy as np
import optax

from benchmark.models.heads import MaskedLM
from benchmark.training import partitioning
from benchmark.training.batches import row_batch
from benchmark.training.masking import MaskedBatch, SpecialTokens, mask_tokens

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from benchmark.config import EncoderConfig
    from benchmark.models.trees import Params
    from tasks.arrays import token_arrays


@partial(jax.jit, static_argnums=0)
def _evaluate_batch(encoder: EncoderConfig, params: Params, b: MaskedBatch) -> dict[str, jax.Array]:
    """Sums losses, correct predictions and predictions over a batch."""
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
    params: Params,
    rows: token_arrays.TokenArrays,
    special: SpecialTokens,
    mask_rate: float,
    batch_size: int = 64,
    mesh: Mesh | None = None,
) -> dict[str, float]:
    """Computes masked-LM accuracy and loss on held-out rows; the masks are the same for every model and on every mesh.

    Returns:
        `accuracy` in percent, its standard error `accuracy_stderr` in percentage points (binomial), mean `loss` in
        nats, and the number of `predictions`; `next_sentence_accuracy` in percent where rows are sentence pairs and the
        model has that head.
    """
    totals: dict[str, float] = {}
    params, own = partitioning.place(mesh, params), partitioning.own_rows(mesh, batch_size)
    for number, start in enumerate(range(0, rows.num_rows, batch_size)):
        ids, types, labels = row_batch(rows, (start + own)[start + own < rows.num_rows])
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
