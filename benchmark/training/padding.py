"""Lengths of padded rows and their attention masks, for NumPy's arrays and for those of jax."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import jax

Ids = TypeVar("Ids", "np.ndarray", "jax.Array")


def row_lengths(input_ids: Ids, pad_id: int) -> Ids:
    """Counts the tokens of each row up to the last one that is not padding.

    Padding stands at the end of a row. [PAD] before that is a token: a text may hold it, as it may hold [MASK].

    Args:
        input_ids: `[batch, length]`.
        pad_id: id of padding.

    Returns:
        `[batch]`, integers.
    """
    real = input_ids != pad_id
    lengths: Ids = real.any(1) * (real.shape[1] - real[:, ::-1].argmax(1))
    return lengths


def attention_mask(input_ids: Ids, pad_id: int) -> Ids:
    """Marks the tokens of each row, as the tokenizers of transformers do.

    Args:
        input_ids: `[batch, length]`.
        pad_id: id of padding.

    Returns:
        1 for the tokens that `row_lengths` counts and 0 for padding, `[batch, length]`, int32.
    """
    mask: Ids = (row_lengths(input_ids, pad_id)[:, None] > np.arange(input_ids.shape[1])).astype(np.int32)
    return mask
