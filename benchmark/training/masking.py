"""Dynamic masking for masked-LM training, on the device, from a key: no masked copy of the data is ever stored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of a vocabulary that masking must know."""

    vocab_size: int
    pad_id: int
    cls_id: int
    sep_id: int
    mask_id: int


class MaskedBatch(NamedTuple):
    """A batch ready for masked-LM training.

    Attributes:
        input_ids: ids with some replaced, `[batch, length]`.
        attention_mask: 1 for tokens and 0 for padding, `[batch, length]`.
        token_type_ids: 0 for the first sentence and 1 for the second, `[batch, length]`.
        positions: places to predict, `[batch, predictions]`.
        labels: original ids at those places, `[batch, predictions]`.
        weights: 1 for a real prediction and 0 for a filler, `[batch, predictions]`.
        next_sentence_labels: 0 where the second part of a row follows the first, 1 where it is a random one, -1 for a
            filler, `[batch]`; None where rows are no sentence pairs.
    """

    input_ids: jax.Array
    attention_mask: jax.Array
    token_type_ids: jax.Array
    positions: jax.Array
    labels: jax.Array
    weights: jax.Array
    next_sentence_labels: jax.Array | None = None


def num_predictions(length: int, mask_rate: float) -> int:
    """Predictions for each sequence of `length` ids (its first and last are special)."""
    return max(1, round((length - 2) * mask_rate))


@partial(jax.jit, static_argnums=(2, 3))
def mask_tokens(
    key: jax.Array,
    input_ids: jax.Array,
    special: SpecialTokens,
    mask_rate: float,
    token_type_ids: jax.Array | None = None,
    next_sentence_labels: jax.Array | None = None,
) -> MaskedBatch:
    """Chooses tokens at random and replaces them as BERT does: 80 % [MASK], 10 % a random token, 10 % unchanged.

    It is a separate program, so that a process compiles it once and not with every model.

    Args:
        key: random key; the same key masks the same batch in the same way.
        input_ids: `[batch, length]`, padded with `special.pad_id`.
        special: ids that are never chosen.
        mask_rate: share of a sequence's real tokens to predict.
        token_type_ids: `[batch, length]` of sentence pairs; None for single texts.
        next_sentence_labels: `[batch]` of sentence pairs, handed on; None for single texts.

    Returns:
        A `MaskedBatch` with a fixed number of predictions; a short sequence fills up with weight 0.
    """
    batch, length = input_ids.shape
    count = num_predictions(length, mask_rate)
    input_ids = input_ids.astype(jnp.int32)
    attention_mask = (input_ids != special.pad_id).astype(jnp.int32)
    eligible = (attention_mask > 0) & (input_ids != special.cls_id) & (input_ids != special.sep_id)
    choose, kind, other = jax.random.split(key, 3)
    order = jnp.where(eligible, jax.random.uniform(choose, (batch, length)), -1.0)
    _, positions = jax.lax.top_k(order, count)
    wanted = jnp.maximum(1, jnp.round(eligible.sum(axis=1, keepdims=True) * mask_rate))
    weights = (jnp.arange(count)[None] < wanted) & jnp.take_along_axis(eligible, positions, axis=1)
    labels = jnp.take_along_axis(input_ids, positions, axis=1)
    draw = jax.random.uniform(kind, (batch, count))
    random_ids = jax.random.randint(other, (batch, count), special.mask_id + 1, special.vocab_size)
    replaced = jnp.where(draw < 0.8, special.mask_id, jnp.where(draw < 0.9, random_ids, labels))
    rows = jnp.arange(batch)[:, None]
    masked = input_ids.at[rows, positions].set(jnp.where(weights, replaced, labels))
    types = jnp.zeros_like(input_ids) if token_type_ids is None else token_type_ids.astype(jnp.int32)
    pairs = None if next_sentence_labels is None else next_sentence_labels.astype(jnp.int32)
    return MaskedBatch(masked, attention_mask, types, positions, labels, weights.astype(jnp.float32), pairs)
