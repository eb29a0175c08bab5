"""Masked-LM scores on held-out rows: accuracy, loss, and agreement with a teacher.

Every masked-LM accuracy of this project comes from `evaluate_masked_lm`. The masks are a function of the rows alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmark.models.heads import MaskedLM
from benchmark.statistics.clusters import ratio
from benchmark.training import partitioning
from benchmark.training.batches import row_batch
from benchmark.training.masking import MaskedBatch, SpecialTokens, mask_rows

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from benchmark.config import EncoderConfig
    from benchmark.models.trees import Params
    from tasks.arrays import token_arrays

# Rows of a batch of every evaluation, so that one compiled program serves all of a model.
BATCH_SIZE = 64
# Gives a teacher's logits, `[batch, predictions, vocab]`, on the masked batch of this number.
TeacherLogits = Callable[[int, MaskedBatch], jax.Array]


class Logits(NamedTuple):
    """The logits of a model on a masked batch.

    Attributes:
        tokens: at the places to predict, `[batch, predictions, vocab]`.
        next_sentence: `[batch, 2]`; None where rows are no sentence pairs or the model lacks that head.
    """

    tokens: jax.Array
    next_sentence: jax.Array | None


@partial(jax.jit, static_argnums=0)
def masked_logits(encoder: EncoderConfig, params: Params, batch: MaskedBatch) -> Logits:
    """Runs a model on a masked batch; the one program that is compiled for each model."""
    pairs = "next_sentence" in params and batch.next_sentence_labels is not None
    output = MaskedLM(encoder, next_sentence=pairs).apply(
        {"params": params}, batch.input_ids, batch.attention_mask, batch.token_type_ids, batch.positions
    )
    return Logits(output.logits, output.next_sentence_logits)


@partial(jax.jit, static_argnums=0)
def row_sums(mesh: Mesh | None, logits: Logits, batch: MaskedBatch, teacher: jax.Array | None) -> dict[str, jax.Array]:
    """Sums over the predictions of each row; all models of one vocabulary share the program.

    Args:
        mesh: the mesh, whose processes all get the sums of all rows.
        logits: those of the model.
        batch: its labels and weights are read.
        teacher: logits of the teacher, `[batch, predictions, vocab]`; None for no comparison.

    Returns:
        float32 `[batch]` each: `predictions`, `loss` (nats), `correct`, with a teacher `agreeing` (the likeliest token
        is the teacher's) and `divergence` (KL of the teacher's distribution from the model's, nats), and with a
        next-sentence head `correct_pairs`.
    """
    weights = batch.weights
    losses = optax.softmax_cross_entropy_with_integer_labels(logits.tokens, batch.labels)
    predicted = logits.tokens.argmax(-1)
    sums = {
        "predictions": weights.sum(1),
        "loss": (losses * weights).sum(1),
        "correct": ((predicted == batch.labels) * weights).sum(1),
    }
    if teacher is not None:
        wanted, given = jax.nn.log_softmax(teacher), jax.nn.log_softmax(logits.tokens)
        # A sum of rounded terms may end below 0 where both agree.
        divergence = jnp.maximum((jnp.exp(wanted) * (wanted - given)).sum(-1), 0.0)
        sums["agreeing"] = ((predicted == teacher.argmax(-1)) * weights).sum(1)
        sums["divergence"] = (divergence * weights).sum(1)
    if logits.next_sentence is not None:
        assert batch.next_sentence_labels is not None
        right = logits.next_sentence.argmax(-1) == batch.next_sentence_labels
        sums["correct_pairs"] = right.astype(jnp.float32)
    return partitioning.constrain(mesh, sums)


def row_key(rows: token_arrays.TokenArrays) -> jax.Array:
    """Makes the random key of the masks of some rows from their content: not from their place, type or batches."""
    ids = row_batch(rows, np.arange(rows.num_rows)).input_ids.astype("<u4")
    digest = hashlib.sha256(f"{ids.shape}".encode() + ids.tobytes()).digest()
    # A key that no training run uses.
    return jax.random.fold_in(jax.random.key(20220121), int.from_bytes(digest[:4], "little"))


def row_clusters(rows: token_arrays.TokenArrays) -> np.ndarray:
    """Names the cluster of each row, integers `[rows]`: its document, or the row where all are of one document."""
    documents = rows.features.get("document")
    if documents is None or len(np.unique(documents)) < 2:
        return np.arange(rows.num_rows)
    return np.asarray(documents)


def evaluate_masked_lm(
    encoder: EncoderConfig,
    params: Params,
    rows: token_arrays.TokenArrays,
    special: SpecialTokens,
    mask_rate: float,
    batch_size: int = BATCH_SIZE,
    mesh: Mesh | None = None,
    teacher: TeacherLogits | None = None,
) -> dict[str, Any]:
    """Computes masked-LM scores on held-out rows.

    The masks of a row follow from the content of all rows and the number of this one: they are the same for every
    model, batch size and mesh.

    Args:
        encoder: architecture of the model.
        params: its parameters, with a masked-LM head.
        rows: the held-out rows; with the feature `document`, errors are over documents, else over rows.
        special: ids that are never masked.
        mask_rate: share of the tokens that are masked.
        batch_size: rows at a time.
        mesh: devices that divide a batch.
        teacher: gives the logits of a teacher with the same vocabulary; None for no comparison.

    Returns:
        `accuracy` in percent, mean `loss` in nats, the number of `predictions`, and that of the `documents` (or rows)
        over which errors are taken; `next_sentence_accuracy` in percent where rows are sentence pairs and the model has
        that head. With a teacher `teacher_agreement`, the percentage of predictions whose likeliest token is the
        teacher's, and `teacher_kl`, the mean Kullback-Leibler divergence of the teacher's distribution from the
        model's, in nats. Each of the four means has its standard error under its name with `_stderr`; None where there
        is one row alone.
    """
    params, own = partitioning.place(mesh, params), partitioning.own_rows(mesh, batch_size)
    key, found = row_key(rows), []
    for number, start in enumerate(range(0, rows.num_rows, batch_size)):
        numbers = (start + own).astype(np.uint32)
        ids, types, labels = row_batch(rows, numbers[numbers < rows.num_rows])
        # The last batch is filled up, so that one compiled shape serves all; nothing in the fillers is predicted.
        missing = len(own) - len(ids)
        ids = np.pad(ids, ((0, missing), (0, 0)), constant_values=special.pad_id)
        types = None if types is None else np.pad(types, ((0, missing), (0, 0)))
        labels = None if labels is None else np.pad(labels, (0, missing), constant_values=-1)
        numbers, ids, types, labels = partitioning.place_rows(mesh, (numbers, ids, types, labels), batch_size)
        batch = mask_rows(key, numbers, ids, special, mask_rate, types, labels)
        batch = partitioning.divide_rows(mesh, batch)
        logits = masked_logits(encoder, params, batch)
        found.append(row_sums(mesh, logits, batch, None if teacher is None else teacher(number, batch)))
    sums = {name: np.concatenate([np.asarray(part[name]) for part in found])[: rows.num_rows] for name in found[0]}
    return _scores({name: values.astype(np.float64) for name, values in sums.items()}, row_clusters(rows))


def _scores(sums: dict[str, np.ndarray], clusters: np.ndarray) -> dict[str, Any]:
    """Makes the scores of `evaluate_masked_lm` of sums over each row's predictions, `[rows]`."""
    scores: dict[str, Any] = {}
    means = {
        "accuracy": ("correct", 100.0),
        "loss": ("loss", 1.0),
        "teacher_agreement": ("agreeing", 100.0),
        "teacher_kl": ("divergence", 1.0),
    }
    for name, (summed, unit) in means.items():
        if summed in sums:
            mean, error = ratio(sums[summed], sums["predictions"], clusters)
            scores[name], scores[f"{name}_stderr"] = unit * mean, None if error is None else unit * error
    scores |= {"predictions": int(sums["predictions"].sum()), "documents": len(np.unique(clusters))}
    if "correct_pairs" in sums:
        scores["next_sentence_accuracy"] = 100.0 * float(sums["correct_pairs"].mean())
    return scores
