"""Losses of pretraining: masked LM and next sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax

from benchmark.models.gradients import cross_entropy
from benchmark.models.heads import MaskedLM
from benchmark.training.state import Mean

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig
    from benchmark.models.trees import Params
    from benchmark.training.masking import MaskedBatch
    from benchmark.training.state import Settings, TermsFunction


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


def is_first_largest(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Tells where a label is the first of the largest logits, as `logits.argmax(-1) == labels` does.

    Of equal logits only the first is the model's answer: a model whose logits are all equal is right by chance. It is
    one pass over the logits, without the pairs of value and place that XLA compares for `argmax`. NaN is no answer.

    Args:
        logits: `[..., classes]`.
        labels: `[...]`.

    Returns:
        Booleans, `[...]`.
    """
    chosen = jnp.take_along_axis(logits, labels[..., None], axis=-1)
    later = jnp.arange(logits.shape[-1]) >= labels[..., None]
    return ((logits < chosen) | ((logits == chosen) & later)).all(-1)


def masked_lm_loss(
    encoder: EncoderConfig, *, next_sentence: bool = False, compute_dtype: str = "float32"
) -> TermsFunction:
    """Makes the loss function of pretraining, for `make_train_step`: masked LM, plus next sentence with weight 1.

    The batch is a `MaskedBatch`. Both are mean cross-entropies against hard labels, as in BERT (arXiv 1810.04805,
    appendix A.2).
    """
    model = MaskedLM(encoder, dtype=jnp.dtype(compute_dtype), next_sentence=next_sentence)

    def loss(params: Params, b: MaskedBatch, settings: Settings) -> tuple[dict[str, Mean], dict[str, Mean]]:
        del settings
        output = model.apply({"params": params}, b.input_ids, b.attention_mask, b.token_type_ids, b.positions)
        losses = cross_entropy(output.logits, b.labels)
        count = b.weights.sum()
        total = jnp.maximum(count, 1.0)
        correct = is_first_largest(output.logits, b.labels) * b.weights
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
