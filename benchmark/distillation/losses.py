"""Distillation losses as pure functions.

Those of layers take whole stacks, `[layers, batch, length, ...]`, and return one number for each layer, so that a
recipe chooses layers by weights. `mask` is 1 for tokens and 0 for padding, `[batch, length]`. Values at padded
positions, even NaN, change neither a loss nor its gradient. Means are over the real tokens of
the whole batch; TinyBERT's released code has means over all positions, which is the same on full rows.

`benchmark.config.losses` is their table, and states the signature of the functions that it names.

In the formulas S is the student and T the teacher, `E` stands for the mean over real tokens, n for the width.

Where the numbers of heads differ, attention maps are averaged over heads on both sides, as `RULES.md` says. Computation
is in float32 at least, whatever the type of the inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax

from benchmark.models.encoder import NEGATIVE, standardize
from benchmark.models.gradients import cross_entropy, soft_cross_entropy
from benchmark.training.losses import next_sentence_loss as next_sentence_loss

if TYPE_CHECKING:
    from benchmark.models.trees import PyTree
    from benchmark.training.masking import MaskedBatch


def _clean(x: jax.Array, keep: jax.Array, filler: float = 0.0) -> jax.Array:
    """`x` in float32 or wider, with `filler` where `keep` is 0; no gradient goes through a filler."""
    return jnp.where(keep > 0, x.astype(jnp.promote_types(x.dtype, jnp.float32)), filler)


def _mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean over what `mask` marks: `[..., *mask.shape]` to `[...]`, 0 where it marks nothing."""
    axes, mask = tuple(range(-mask.ndim, 0)), mask.astype(values.dtype)
    return (values * mask).sum(axis=axes) / jnp.maximum(mask.sum(), 1.0)


def feature_map_loss(student: jax.Array, teacher: jax.Array, mask: jax.Array) -> jax.Array:
    """Feature map transfer: `E mean_i (LN(S)_i - LN(T)_i)^2`, with a layer norm LN without gain.

    Source: MobileBERT, arXiv 2004.02984, with the layer norm of its released code.

    Args:
        student: layer outputs, already of the teacher's width, `[layers, batch, length, hidden]`.
        teacher: the mapped teacher layers, same shape.
        mask: `[batch, length]`.

    Returns:
        `[layers]`; 0 where student and teacher agree up to shift and scale of each token.
    """
    student, teacher = (_clean(x, mask[..., None]) for x in (student, teacher))
    difference = standardize(student, 1e-12) - standardize(teacher, 1e-12)
    return _mean(jnp.square(difference).mean(axis=-1), mask)


def feature_mean_loss(student: jax.Array, teacher: jax.Array, mask: jax.Array) -> jax.Array:
    """`E (mean_i S_i - mean_i T_i)^2`, MobileBERT's mean statistic (released code); shapes as `feature_map_loss`."""
    student, teacher = (_clean(x, mask[..., None]) for x in (student, teacher))
    return _mean(jnp.square(student.mean(axis=-1) - teacher.mean(axis=-1)), mask)


def feature_variance_loss(student: jax.Array, teacher: jax.Array, mask: jax.Array) -> jax.Array:
    """`E |var_i S_i - var_i T_i|`, MobileBERT's variance statistic (released code); shapes as `feature_map_loss`."""
    student, teacher = (_clean(x, mask[..., None]) for x in (student, teacher))
    return _mean(jnp.abs(student.var(axis=-1) - teacher.var(axis=-1)), mask)


def hidden_loss(student: jax.Array, teacher: jax.Array, mask: jax.Array) -> jax.Array:
    """`E mean_i (S_i - T_i)^2` of layer outputs; 0 where both agree; shapes as `feature_map_loss`.

    Source: TinyBERT, arXiv 1909.10351, section 3.1; the student is already multiplied by the learned map to the
    teacher's width.
    """
    student, teacher = (_clean(x, mask[..., None]) for x in (student, teacher))
    return _mean(jnp.square(student - teacher).mean(axis=-1), mask)


def embedding_loss(student: jax.Array, teacher: jax.Array, mask: jax.Array) -> jax.Array:
    """`E mean_i (S_i - T_i)^2` of the embedding layer's output, TinyBERT's embedding loss.

    Args:
        student: already of the teacher's width, `[batch, length, hidden]`.
        teacher: same shape.
        mask: `[batch, length]`.

    Returns:
        A scalar; 0 where both agree.
    """
    return hidden_loss(student, teacher, mask)


def cosine_loss(student: jax.Array, teacher: jax.Array, mask: jax.Array) -> jax.Array:
    """`E (1 - S.T / (|S| |T|))` of layer outputs: 0 for parallel, 2 for opposite ones; shapes as `feature_map_loss`.

    Source: DistilBERT, arXiv 1910.01108, section 2, which has it for the last layer.
    """
    student, teacher = (_clean(x, mask[..., None]) for x in (student, teacher))
    return _mean(optax.cosine_distance(student, teacher, epsilon=1e-12), mask)


def _pairs(mask: jax.Array) -> jax.Array:
    """Real queries with real keys: `[batch, length]` to `[batch, 1, length, length]`."""
    return (mask[:, :, None] * mask[:, None, :])[:, None]


def _distributions(
    student_scores: jax.Array, teacher_scores: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log-probabilities of the student, probabilities and log-probabilities of the teacher, over real keys.

    Returns:
        Each `[layers, batch, heads, length, length]`, with one head where the numbers of heads differ. At padded keys
        probabilities are 0 and logs finite.
    """
    average = student_scores.shape[2] != teacher_scores.shape[2]
    results = []
    for scores in (student_scores, teacher_scores):
        scores = _clean(scores, _pairs(mask), NEGATIVE)
        probabilities, logs = jax.nn.softmax(scores, axis=-1), jax.nn.log_softmax(scores, axis=-1)
        if average:
            probabilities = probabilities.mean(axis=2, keepdims=True)
            logs = jnp.log(jnp.maximum(probabilities, 1e-30))
        results.append((probabilities, logs))
    return results[0][1], *results[1]


def attention_loss(student_scores: jax.Array, teacher_scores: jax.Array, mask: jax.Array) -> jax.Array:
    """Attention transfer: `E mean_heads -sum_k p_T(k) log p_S(k)` with `p = softmax(scores)` over the keys k.

    This is the Kullback-Leibler divergence of MobileBERT's paper (arXiv 2004.02984) plus a constant of the teacher, as
    in its released code. `E` is over the queries.

    Args:
        student_scores: scores before the softmax, `[layers, batch, heads, length, length]`, queries before keys.
        teacher_scores: likewise with the teacher's number of heads.
        mask: `[batch, length]`.

    Returns:
        `[layers]`; the mean entropy of the teacher's distributions where both agree.
    """
    if student_scores.shape[2] == teacher_scores.shape[2]:
        student, teacher = (_clean(scores, _pairs(mask), NEGATIVE) for scores in (student_scores, teacher_scores))
        return _mean(soft_cross_entropy(student, teacher).mean(axis=2), mask)
    log_student, teacher, _ = _distributions(student_scores, teacher_scores, mask)
    return _mean(-(teacher * log_student).sum(axis=-1).mean(axis=2), mask)


def attention_relation_loss(student_scores: jax.Array, teacher_scores: jax.Array, mask: jax.Array) -> jax.Array:
    """`E mean_heads KL(p_T || p_S)` of attention; 0 where both agree; shapes as `attention_loss`.

    Source: MiniLM, arXiv 2002.10957, section 3.1, which has it for the last layer.
    """
    log_student, teacher, log_teacher = _distributions(student_scores, teacher_scores, mask)
    return _mean((teacher * (log_teacher - log_student)).sum(axis=-1).mean(axis=2), mask)


def value_relation_loss(student_values: jax.Array, teacher_values: jax.Array, mask: jax.Array) -> jax.Array:
    """`E mean_heads KL(r_T || r_S)` with the value relation `r = softmax(V V^T / sqrt(head_size))` over real tokens.

    Source: MiniLM, arXiv 2002.10957, section 3.2, which has it for the last layer. The widths of the heads may differ.

    Args:
        student_values: value vectors, `[layers, batch, length, heads, head_size]`.
        teacher_values: likewise, with the teacher's heads.
        mask: `[batch, length]`.

    Returns:
        `[layers]`; 0 where both relations agree.
    """

    def relation(values: jax.Array) -> jax.Array:
        values = _clean(values, mask[..., None, None]).transpose(0, 1, 3, 2, 4)
        return values @ values.swapaxes(-1, -2) * values.shape[-1] ** -0.5

    return attention_relation_loss(relation(student_values), relation(teacher_values), mask)


def attention_score_loss(student_scores: jax.Array, teacher_scores: jax.Array, mask: jax.Array) -> jax.Array:
    """`mean (S - T)^2` of the scores before the softmax, over heads and pairs of a real query and a real key.

    Source: TinyBERT, arXiv 1909.10351, section 3.1. Its code sets the scores of padded keys to zero and divides by all
    pairs, so that a batch counts less the more padding it has; here it is divided by the real pairs.

    Args:
        student_scores: scores before the softmax, `[layers, batch, heads, length, length]`, queries before keys.
        teacher_scores: likewise; where the numbers of heads differ, scores are averaged over heads on both sides.
        mask: `[batch, length]`.

    Returns:
        `[layers]`; 0 where both agree.
    """
    pairs = _pairs(mask)
    student, teacher = (_clean(scores, pairs) for scores in (student_scores, teacher_scores))
    if student.shape[2] != teacher.shape[2]:
        student, teacher = (scores.mean(axis=2) for scores in (student, teacher))
        return _mean(jnp.square(student - teacher), pairs[:, 0])
    return _mean(jnp.square(student - teacher).mean(axis=2), pairs[:, 0])


def mixed_masked_lm_loss(
    student_logits: jax.Array,
    teacher_logits: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    ground_truth_ratio: float | jax.Array,
) -> jax.Array:
    """Cross-entropy against `ratio * one-hot + (1 - ratio) * softmax(teacher)` at temperature 1 (MobileBERT's code).

    Args:
        student_logits: `[batch, predictions, vocab]`.
        teacher_logits: likewise.
        labels: original ids, `[batch, predictions]`.
        weights: 1 for a real prediction and 0 for a filler, `[batch, predictions]`.
        ground_truth_ratio: share of the hard label.

    Returns:
        The mean over real predictions, a scalar. Where both agree it is the teacher's mean entropy at ratio 0.
    """
    student, teacher = (_clean(logits, weights[..., None]) for logits in (student_logits, teacher_logits))
    hard, soft = cross_entropy(student, labels), soft_cross_entropy(student, teacher)
    return _mean(ground_truth_ratio * hard + (1.0 - ground_truth_ratio) * soft, weights)


def soft_cross_entropy_loss(
    student_logits: jax.Array, teacher_logits: jax.Array, weights: jax.Array, temperature: float | jax.Array
) -> jax.Array:
    """`t^2 mean -sum_i softmax(T / t)_i log softmax(S / t)_i`, of masked LM or of a classifier.

    Source: DistilBERT, arXiv 1910.01108, section 2, and TinyBERT's prediction loss, arXiv 1909.10351, section 3.1, at
    t = 1. The factor keeps the size of gradients when the temperature changes (Hinton et al., arXiv 1503.02531);
    DistilBERT's code has it, with a Kullback-Leibler divergence, whose gradient is the same.

    Args:
        student_logits: `[batch, predictions, vocab]`, or `[batch, labels]`.
        teacher_logits: likewise.
        weights: 1 for a real prediction and 0 for a filler, the shape of the logits without their last axis.
        temperature: t, above 0.

    Returns:
        The mean over real predictions, a scalar; `t^2` times the teacher's mean entropy where both agree.
    """
    student, teacher = (_clean(x, weights[..., None]) / temperature for x in (student_logits, teacher_logits))
    return temperature**2 * _mean(soft_cross_entropy(student, teacher), weights)


def masked_lm_loss(
    student: jax.Array, teacher: jax.Array | None, batch: MaskedBatch, settings: Mapping[str, jax.Array]
) -> jax.Array:
    """Masked LM of a phase: `mixed_masked_lm_loss` at `ground_truth_ratio`, or hard labels without a teacher.

    Args:
        student: logits, `[batch, predictions, vocab]`.
        teacher: likewise; None where all labels are hard.
        batch: its labels and weights are read.
        settings: those of `PhaseObjective.settings`.

    Returns:
        The mean over real predictions, a scalar.
    """
    labels, weights = batch.labels, batch.weights
    if teacher is not None:
        return mixed_masked_lm_loss(student, teacher, labels, weights, settings["ground_truth_ratio"])
    hard = optax.softmax_cross_entropy_with_integer_labels(student, labels)
    return (hard * weights).sum() / jnp.maximum(weights.sum(), 1.0)


def prediction_loss(
    student: jax.Array, teacher: jax.Array, batch: PyTree, settings: Mapping[str, jax.Array]
) -> jax.Array:
    """`soft_cross_entropy_loss` of a phase, at its `temperature`; arguments as `masked_lm_loss`."""
    return soft_cross_entropy_loss(student, teacher, batch.weights, settings["temperature"])


def sentence_order_loss(
    student: jax.Array, teacher: None, batch: MaskedBatch, settings: Mapping[str, jax.Array]
) -> jax.Array:
    """`next_sentence_loss` of a phase; arguments as `masked_lm_loss`."""
    del teacher, settings
    assert batch.next_sentence_labels is not None
    return next_sentence_loss(student, batch.next_sentence_labels)
