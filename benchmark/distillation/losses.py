"""Distillation losses as pure functions.

All take whole stacks of layers, `[layers, batch, length, ...]`, and return one number for each layer, so that a recipe
chooses layers by weights. `mask` is 1 for tokens and 0 for padding, `[batch, length]`; padded positions never matter.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from benchmark.models.encoder import standardize


def _token_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean over real tokens: `[layers, batch, length]` and `[batch, length]` to `[layers]`."""
    return (values * mask).sum(axis=(1, 2)) / jnp.maximum(mask.sum(), 1.0)


def feature_map_loss(student: jax.Array, teacher: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean squared difference of the layer outputs after a layer norm without gain (MobileBERT, released code).

    Args:
        student: layer outputs, already of the teacher's width, `[layers, batch, length, hidden]`.
        teacher: the mapped teacher layers, same shape.
        mask: `[batch, length]`.

    Returns:
        `[layers]`; 0 where student and teacher agree up to shift and scale of each token.
    """
    difference = standardize(student, 1e-12) - standardize(teacher, 1e-12)
    return _token_mean(jnp.square(difference).mean(axis=-1), mask)


def feature_mean_loss(student: jax.Array, teacher: jax.Array, mask: jax.Array) -> jax.Array:
    """Squared difference of each token's mean over channels; shapes as `feature_map_loss`."""
    return _token_mean(jnp.square(student.mean(axis=-1) - teacher.mean(axis=-1)), mask)


def feature_variance_loss(student: jax.Array, teacher: jax.Array, mask: jax.Array) -> jax.Array:
    """Absolute difference of each token's variance over channels; shapes as `feature_map_loss`."""
    return _token_mean(jnp.abs(student.var(axis=-1) - teacher.var(axis=-1)), mask)


def attention_loss(student_scores: jax.Array, teacher_scores: jax.Array, mask: jax.Array) -> jax.Array:
    """Cross-entropy `-sum_k softmax(teacher)_k log softmax(student)_k` of attention, the mean over heads and queries.

    This is the Kullback-Leibler divergence of MobileBERT's paper plus a constant of the teacher, as in its released
    code. Where the numbers of heads differ, probabilities are averaged over heads on both sides.

    Args:
        student_scores: scores before the softmax, padded keys at about -1e9, `[layers, batch, heads, length, length]`.
        teacher_scores: likewise with the teacher's number of heads.
        mask: `[batch, length]`.

    Returns:
        `[layers]`; the mean entropy of the teacher's distributions where both agree.
    """
    teacher = jax.nn.softmax(teacher_scores, axis=-1)
    if student_scores.shape[2] == teacher_scores.shape[2]:
        log_student = jax.nn.log_softmax(student_scores, axis=-1)
    else:
        teacher = teacher.mean(axis=2, keepdims=True)
        log_student = jnp.log(jnp.maximum(jax.nn.softmax(student_scores, axis=-1).mean(axis=2, keepdims=True), 1e-30))
    # A padded key has teacher probability 0; its log-probability of about -1e9 is taken out before the product.
    log_student = jnp.where(mask[None, :, None, None, :] > 0, log_student, 0.0)
    cross_entropy = -(teacher * log_student).sum(axis=-1).mean(axis=2)
    return _token_mean(cross_entropy, mask)


def mixed_masked_lm_loss(
    student_logits: jax.Array,
    teacher_logits: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    ground_truth_ratio: float,
) -> jax.Array:
    """Cross-entropy against `ratio * one-hot + (1 - ratio) * softmax(teacher)` at temperature 1 (MobileBERT's code).

    Args:
        student_logits: `[batch, predictions, vocab]`.
        teacher_logits: likewise.
        labels: original ids, `[batch, predictions]`.
        weights: 1 for a real prediction and 0 for a filler, `[batch, predictions]`.
        ground_truth_ratio: share of the hard label.

    Returns:
        The mean over real predictions, a scalar.
    """
    log_student = jax.nn.log_softmax(student_logits, axis=-1)
    hard = -jnp.take_along_axis(log_student, labels[..., None], axis=-1)[..., 0]
    soft = -(jax.nn.softmax(teacher_logits, axis=-1) * log_student).sum(axis=-1)
    losses = ground_truth_ratio * hard + (1.0 - ground_truth_ratio) * soft
    return (losses * weights).sum() / jnp.maximum(weights.sum(), 1.0)
