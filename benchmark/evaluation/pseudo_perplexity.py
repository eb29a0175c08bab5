"""Pseudo-perplexity of a masked language model (Salazar et al. 2020, arXiv 1910.14659, section 2.3).

Each token is masked alone and predicted from all others: the exponential of the mean negative log-likelihood.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.evaluation.masked_lm import BATCH_SIZE, masked_logits, row_clusters, row_sums
from benchmark.statistics.clusters import ratio
from benchmark.training import partitioning
from benchmark.training.batches import RowBatch, row_batch
from benchmark.training.masking import MaskedBatch, SpecialTokens, num_predictions
from benchmark.training.padding import attention_mask

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from benchmark.config import EncoderConfig
    from benchmark.models.trees import Params
    from tasks.arrays import token_arrays


def chosen_rows(total: int, wanted: int) -> np.ndarray:
    """Chooses at most `wanted` of `total` rows, evenly spaced, so that they are of many documents; int64, rising."""
    count = min(wanted, total)
    return np.arange(count) * total // max(count, 1)


def _shared_digits(value: float) -> float:
    """Rounds to twelve digits, on which the exponentials of all C libraries agree."""
    return float(f"{value:.12g}")


def _one_masked(rows: RowBatch, places: np.ndarray, special: SpecialTokens, num_places: int, size: int) -> MaskedBatch:
    """Masks one token of each row.

    The batch has the shapes and types of `mask_rows`, so that the program of the other scores computes it: of
    `num_places` predictions the first counts, and of `size` rows those that are given.

    Args:
        rows: `[batch]` rows.
        places: the column of each row to mask, `[batch]`.
        special: the ids of the vocabulary.
        num_places: predictions for each row.
        size: rows of the batch with its fillers.
    """
    count, length = rows.input_ids.shape
    each = np.arange(count)
    ids = np.full((size, length), special.pad_id, np.int32)
    ids[:count] = rows.input_ids
    types = np.zeros((size, length), np.int32)
    if rows.token_type_ids is not None:
        types[:count] = rows.token_type_ids
    positions, labels = np.zeros((2, size, num_places), np.int32)
    positions[:count, 0], labels[:count, 0] = places, rows.input_ids[each, places]
    weights = np.zeros((size, num_places), np.float32)
    weights[:count, 0] = 1.0
    mask = attention_mask(ids, special.pad_id)
    ids[each, places] = special.mask_id
    pairs = None if rows.next_sentence_labels is None else np.full(size, -1, np.int32)
    return MaskedBatch(ids, mask, types, positions, labels, weights, pairs)  # type: ignore[arg-type]


def pseudo_perplexity(
    encoder: EncoderConfig,
    params: Params,
    rows: token_arrays.TokenArrays,
    special: SpecialTokens,
    num_rows: int,
    mask_rate: float,
    batch_size: int = BATCH_SIZE,
    mesh: Mesh | None = None,
) -> dict[str, Any]:
    """Computes the pseudo-perplexity on some held-out rows.

    Special tokens, padding and tokens that the vocabulary does not know are no predictions, as in masked LM.

    Args:
        encoder: architecture of the model.
        params: its parameters, with a masked-LM head.
        rows: the held-out rows; at most `num_rows` of them, evenly spaced, are taken.
        special: the ids of the vocabulary.
        num_rows: number of rows to take, at least 1.
        mask_rate: that of `evaluate_masked_lm`, whose compiled program this uses; no result depends on it.
        batch_size: masked rows at a time, likewise.
        mesh: devices that divide a batch.

    Returns:
        `pseudo_perplexity`; its standard error over documents (or rows), `pseudo_perplexity_stderr`, by the delta
        method, None where all is of one row; the number of `pseudo_perplexity_tokens`, and that of
        `pseudo_perplexity_rows`.
    """
    taken = chosen_rows(rows.num_rows, num_rows)
    ids = row_batch(rows, taken).input_ids
    ignored = [special.pad_id, special.cls_id, special.sep_id, *([] if special.unk_id is None else [special.unk_id])]
    row, place = np.nonzero(~np.isin(ids, ignored))
    params, own = partitioning.place(mesh, params), partitioning.own_rows(mesh, batch_size)
    num_places, found = num_predictions(ids.shape[1], mask_rate), []
    for start in range(0, len(row), batch_size):
        here = start + own[start + own < len(row)]
        batch = _one_masked(row_batch(rows, taken[row[here]]), place[here], special, num_places, len(own))
        batch = partitioning.place_rows(mesh, batch, batch_size)
        logits = masked_logits(encoder, params, batch)
        found.append(np.asarray(row_sums(mesh, logits, batch, None)["loss"]))
    losses = np.concatenate(found)[: len(row)].astype(np.float64)
    mean, error = ratio(losses, np.ones(len(row)), row_clusters(rows)[taken[row]])
    value = math.exp(mean)
    return {
        "pseudo_perplexity": _shared_digits(value),
        "pseudo_perplexity_stderr": None if error is None else _shared_digits(value * error),
        "pseudo_perplexity_tokens": len(row),
        "pseudo_perplexity_rows": len(taken),
    }
