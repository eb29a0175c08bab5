"""Functions with gradient rules of their own.

Automatic differentiation keeps every intermediate array of a function for its backward pass. On a CPU, where a training
step waits for memory as much as for arithmetic, writing and reading these arrays costs more than computing them again.
The rules here keep little and compute the rest again; values and gradients are those of the plain definitions, up to
rounding.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """Gaussian error linear unit `x * Phi(x)`, exact (arXiv 1606.08415), with `Phi` the normal distribution function.

    Its backward pass keeps one array, the derivative.
    """
    return x * _normal_distribution(x)


def _normal_distribution(x: jax.Array) -> jax.Array:
    return 0.5 + 0.5 * jax.lax.erf(x * 0.5**0.5)


def _gelu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    below = _normal_distribution(x)
    density = jnp.exp(-0.5 * jnp.square(x)) * (2.0 * jnp.pi) ** -0.5
    return x * below, below + x * density


def _gelu_backward(derivative: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    return (gradient * derivative,)


gelu.defvjp(_gelu_forward, _gelu_backward)


@jax.custom_vjp
def attention(query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scaled dot-product attention that hands back its scores.

    The backward pass computes scores and probabilities again from the vectors and the logarithm of each query's sum
    (arXiv 2205.14135, section 3.1), so that no array `[length, length]` is kept for it.

    Args:
        query: `[batch, length, heads, head_size]`.
        key: as `query`.
        value: as `query`.
        bias: added to the scores, broadcast to `[batch, heads, length, length]`; a constant without gradient.

    Returns:
        The scores before the softmax, float32, `[batch, heads, length, length]`, and the context, shaped as `query`.
    """
    return _attention_forward(query, key, value, bias)[0]


def _scores(query: jax.Array, key: jax.Array, bias: jax.Array) -> jax.Array:
    return (query @ key.swapaxes(2, 3)).astype(jnp.float32) * (query.shape[-1] ** -0.5) + bias


def _attention_forward(query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array) -> tuple[tuple, tuple]:
    query, key, value = (x.transpose(0, 2, 1, 3) for x in (query, key, value))
    scores = _scores(query, key, bias)
    largest = scores.max(axis=-1, keepdims=True)
    exponentials = jnp.exp(scores - largest)
    total = exponentials.sum(axis=-1, keepdims=True)
    # Divided after the product: `head_size` numbers for each query instead of `length`.
    context = ((exponentials.astype(value.dtype) @ value) / total).astype(value.dtype)
    kept = (query, key, value, bias, largest + jnp.log(total), context)
    return (scores, context.transpose(0, 2, 1, 3)), kept


def _attention_backward(kept: tuple, gradients: tuple) -> tuple:
    return (*_attention_gradients(kept, gradients)[0], None)


def _attention_gradients(kept: tuple, gradients: tuple) -> tuple[tuple, jax.Array]:
    """Computes the gradients of query, key and value, and that of the scores, `[batch, heads, length, length]`."""
    query, key, value, bias, logarithm, context = kept
    to_scores, to_context = gradients
    to_context = to_context.transpose(0, 2, 1, 3)
    probabilities = jnp.exp(_scores(query, key, bias) - logarithm)
    to_value = probabilities.astype(value.dtype).swapaxes(2, 3) @ to_context
    to_probabilities = (to_context @ value.swapaxes(2, 3)).astype(jnp.float32)
    # The softmax's own term, sum_k p_k dp_k, is the product of context and its gradient.
    inner = (to_context * context).astype(jnp.float32).sum(axis=-1, keepdims=True)
    to_scores = to_scores + probabilities * (to_probabilities - inner)
    scaled = (to_scores * query.shape[-1] ** -0.5).astype(query.dtype)
    to_query, to_key = scaled @ key, scaled.swapaxes(2, 3) @ query
    return tuple(x.transpose(0, 2, 1, 3) for x in (to_query, to_key, to_value)), to_scores


attention.defvjp(_attention_forward, _attention_backward)


@jax.custom_vjp
def relative_attention(
    query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array, relative: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns what `attention` does, with one more bias of the scores that is learned.

    Args:
        query: `[batch, length, heads, head_size]`.
        key: as `query`.
        value: as `query`.
        bias: as of `attention`.
        relative: added to the scores, float32, `[1, heads, length, length]`; it has a gradient.
    """
    return _attention_forward(query, key, value, bias + relative)[0]


def _relative_forward(
    query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array, relative: jax.Array
) -> tuple[tuple, tuple]:
    outputs, (*vectors, _, logarithm, context) = _attention_forward(query, key, value, bias + relative)
    # The sum of the two is an array of pairs for each row; it is made again.
    return outputs, (*vectors, bias, relative, logarithm, context)


def _relative_backward(kept: tuple, gradients: tuple) -> tuple:
    *vectors, bias, relative, logarithm, context = kept
    to_vectors, to_scores = _attention_gradients((*vectors, bias + relative, logarithm, context), gradients)
    return (*to_vectors, None, to_scores.sum(axis=0, keepdims=True))


relative_attention.defvjp(_relative_forward, _relative_backward)


@jax.custom_vjp
def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of hard labels: `log sum_v exp(logits_v) - logits_label`.

    The backward pass is one pass over the logits.

    Args:
        logits: float32, `[..., vocab]`.
        labels: integers, `[...]`.

    Returns:
        `[...]`, in nats.
    """
    return _cross_entropy_forward(logits, labels)[0]


def _cross_entropy_forward(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, tuple]:
    logarithm = jax.nn.logsumexp(logits, axis=-1)
    chosen = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return logarithm - chosen, (logits, labels, logarithm)


def _cross_entropy_backward(kept: tuple, gradient: jax.Array) -> tuple:
    logits, labels, logarithm = kept
    probabilities = jnp.exp(logits - logarithm[..., None])
    one_hot = jax.lax.broadcasted_iota(labels.dtype, logits.shape, logits.ndim - 1) == labels[..., None]
    return (probabilities - one_hot) * gradient[..., None], None


cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


@jax.custom_vjp
def soft_cross_entropy(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """Cross-entropy `-sum_v softmax(teacher)_v log softmax(student)_v` over the last axis.

    The backward pass is one pass over both. Entries that both hold at about -1e9 (padded keys of an attention) add
    nothing.

    Args:
        student: float32, `[..., entries]`.
        teacher: likewise; a constant, its gradient is taken as 0.

    Returns:
        `[...]`, in nats; the entropy of the teacher's distribution where both agree up to a shift.
    """
    return _soft_cross_entropy_forward(student, teacher)[0]


def _soft_cross_entropy_forward(student: jax.Array, teacher: jax.Array) -> tuple[jax.Array, tuple]:
    own, other = (jax.nn.logsumexp(x, axis=-1, keepdims=True) for x in (student, teacher))
    losses = (jnp.exp(teacher - other) * (own - student)).sum(axis=-1)
    return losses, (student, teacher, own, other)


def _soft_cross_entropy_backward(kept: tuple, gradient: jax.Array) -> tuple:
    student, teacher, own, other = kept
    return (jnp.exp(student - own) - jnp.exp(teacher - other)) * gradient[..., None], None


soft_cross_entropy.defvjp(_soft_cross_entropy_forward, _soft_cross_entropy_backward)
