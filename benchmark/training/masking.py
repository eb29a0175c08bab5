"""Dynamic masking for masked-LM training, on the device, from a key: no masked copy of the data is ever stored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmark.training.padding import attention_mask


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of a vocabulary that masking must know."""

    vocab_size: int
    pad_id: int
    cls_id: int
    sep_id: int
    mask_id: int
    # Never chosen: as a label it is no prediction. None where rows hold none.
    unk_id: int | None = None
    # First and past-the-end id of each run of ids that a random replacement may have, ascending; () is all behind
    # [MASK], right where special tokens come first and no unused ones follow.
    text_ranges: tuple[tuple[int, int], ...] = ()


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


def random_tokens(key: jax.Array, shape: tuple[int, ...], special: SpecialTokens) -> jax.Array:
    """Draws ids of tokens that text may hold, all equally likely; int32 of the given shape."""
    ranges = np.array(special.text_ranges or [(special.mask_id + 1, special.vocab_size)], np.int32)
    starts, ends = ranges.T
    past = np.cumsum(ends - starts, dtype=np.int32)
    # A number counts the tokens of all runs; with one run this is a draw between its ends.
    number = jax.random.randint(key, shape, 0, int(past[-1]))
    run = jnp.searchsorted(past, number, side="right")
    return number + jnp.asarray(ends - past)[run]


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
    eligible = (input_ids != special.pad_id) & (input_ids != special.cls_id) & (input_ids != special.sep_id)
    if special.unk_id is not None:
        eligible &= input_ids != special.unk_id
    choose, kind, other = jax.random.split(key, 3)
    order = jnp.where(eligible, jax.random.uniform(choose, (batch, length)), -1.0)
    _, positions = jax.lax.top_k(order, count)
    wanted = jnp.maximum(1, jnp.round(eligible.sum(axis=1, keepdims=True) * mask_rate))
    weights = (jnp.arange(count)[None] < wanted) & jnp.take_along_axis(eligible, positions, axis=1)
    labels = jnp.take_along_axis(input_ids, positions, axis=1)
    draw = jax.random.uniform(kind, (batch, count))
    random_ids = random_tokens(other, (batch, count), special)
    replaced = jnp.where(draw < 0.8, special.mask_id, jnp.where(draw < 0.9, random_ids, labels))
    rows = jnp.arange(batch)[:, None]
    masked = input_ids.at[rows, positions].set(jnp.where(weights, replaced, labels))
    types = jnp.zeros_like(input_ids) if token_type_ids is None else token_type_ids.astype(jnp.int32)
    pairs = None if next_sentence_labels is None else next_sentence_labels.astype(jnp.int32)
    mask = attention_mask(input_ids, special.pad_id)
    return MaskedBatch(masked, mask, types, positions, labels, weights.astype(jnp.float32), pairs)


@partial(jax.jit, static_argnums=(3, 4))
def mask_rows(
    key: jax.Array,
    numbers: jax.Array,
    input_ids: jax.Array,
    special: SpecialTokens,
    mask_rate: float,
    token_type_ids: jax.Array | None = None,
    next_sentence_labels: jax.Array | None = None,
) -> MaskedBatch:
    """Masks as `mask_tokens` does, each row with a key of its own: the other rows of a batch do not matter.

    Args:
        key: random key of all rows.
        numbers: of the rows, `[batch]`; rows with the same number are masked with the same key.
        input_ids: `[batch, length]`, padded with `special.pad_id`.
        special: as in `mask_tokens`.
        mask_rate: likewise.
        token_type_ids: likewise.
        next_sentence_labels: likewise.

    Returns:
        A `MaskedBatch`.
    """

    def one(number: jax.Array, ids: jax.Array, types: jax.Array | None, label: jax.Array | None) -> MaskedBatch:
        rows = jax.tree.map(lambda x: x[None], (ids, types, label))
        masked = mask_tokens(jax.random.fold_in(key, number), rows[0], special, mask_rate, *rows[1:])
        return jax.tree.map(lambda x: x[0], masked)

    return jax.vmap(one)(numbers, input_ids, token_type_ids, next_sentence_labels)
