"""Functions with gradient rules of their own, against plain definitions that JAX differentiates."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.models.encoder import NEGATIVE
from benchmark.models.gradients import attention, cross_entropy, gelu, relative_attention, soft_cross_entropy

TOLERANCE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


def plain_attention(query: Any, key: Any, value: Any, bias: Any) -> tuple[Any, Any]:
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * query.shape[-1] ** -0.5 + bias
    return scores, jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, axis=-1), value)


def vectors(shape: tuple[int, ...], seed: int = 0) -> tuple[Any, Any]:
    """Query, key and value `[batch, length, heads, head_size]`, and a bias that pads the ends of the rows."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, shape[1] + 1, shape[0])
    bias = np.where(np.arange(shape[1]) < lengths[:, None], 0.0, NEGATIVE)[:, None, None]
    return [jnp.asarray(2.0 * rng.standard_normal(shape), jnp.float32) for _ in range(3)], jnp.asarray(
        bias, jnp.float32
    )


def test_gelu_and_its_derivative_over_the_whole_range() -> None:
    x = np.concatenate([np.linspace(-12.0, 12.0, 4001), [-1e30, 0.0, 1e30]])
    below = scipy.special.ndtr(x)
    np.testing.assert_allclose(gelu(jnp.asarray(x, jnp.float32)), x * below, rtol=2e-6, atol=1e-6)
    slope = below + x * np.exp(-0.5 * np.minimum(np.square(x), 1e3)) / np.sqrt(2.0 * np.pi)
    found = jax.vmap(jax.grad(gelu))(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found, slope, rtol=2e-6, atol=1e-6)
    assert gelu(jnp.ones(3, jnp.bfloat16)).dtype == jnp.bfloat16


@settings(max_examples=15, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 3), st.integers(1, 5)),
    st.booleans(),
    st.integers(0, 99),
)
def test_attention_as_the_plain_definition(shape: tuple[int, ...], reads_scores: bool, seed: int) -> None:
    inputs, bias = vectors(shape, seed)
    rng = np.random.default_rng(seed + 1)
    to_context = jnp.asarray(rng.standard_normal(shape), jnp.float32)
    to_scores = jnp.asarray(rng.standard_normal((shape[0], shape[2], shape[1], shape[1])), jnp.float32)

    def value(function: Any, *inputs: Any) -> Any:
        scores, context = function(*inputs, bias)
        total = (context * to_context).sum()
        # Scores of padded keys are so large that their sum would hide all others.
        total += (jnp.where(bias < 0, 0.0, scores) * to_scores).sum() if reads_scores else 0.0
        return total, (scores, context)

    # One program for each side: compiling operation by operation takes longer.
    (ours, our_slopes), (expected, slopes) = (
        jax.jit(jax.grad(partial(value, function), argnums=(0, 1, 2), has_aux=True))(*inputs)[::-1]
        for function in (attention, plain_attention)
    )
    for found, reference in zip(ours, expected, strict=True):
        np.testing.assert_allclose(found, reference, **TOLERANCE)
    for found, reference in zip(our_slopes, slopes, strict=True):
        np.testing.assert_allclose(found, reference, rtol=1e-4, atol=2e-5)


@settings(max_examples=8, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 3), st.integers(1, 5)),
    st.booleans(),
    st.integers(0, 99),
)
def test_attention_with_a_learned_bias(shape: tuple[int, ...], reads_scores: bool, seed: int) -> None:
    inputs, bias = vectors(shape, seed)
    rng = np.random.default_rng(seed + 1)
    pairs = (shape[2], shape[1], shape[1])
    inputs = [*inputs, jnp.asarray(rng.standard_normal((1, *pairs)), jnp.float32)]
    to_context = jnp.asarray(rng.standard_normal(shape), jnp.float32)
    to_scores = jnp.asarray(rng.standard_normal((shape[0], *pairs)), jnp.float32)

    def value(function: Any, query: Any, key: Any, value: Any, relative: Any) -> Any:
        scores, context = function(query, key, value, relative)
        total = (context * to_context).sum()
        return total + ((jnp.where(bias < 0, 0.0, scores) * to_scores).sum() if reads_scores else 0.0), context

    def ours(query: Any, key: Any, value: Any, relative: Any) -> Any:
        return relative_attention(query, key, value, bias, relative)

    def plain(query: Any, key: Any, value: Any, relative: Any) -> Any:
        return plain_attention(query, key, value, bias + relative)

    (slopes, found), (expected_slopes, expected) = (
        jax.jit(jax.grad(partial(value, function), argnums=(0, 1, 2, 3), has_aux=True))(*inputs)
        for function in (ours, plain)
    )
    np.testing.assert_allclose(found, expected, **TOLERANCE)
    for slope, reference in zip(slopes, expected_slopes, strict=True):
        np.testing.assert_allclose(slope, reference, rtol=1e-4, atol=2e-5)


def test_attention_as_jax_has_it_and_in_bfloat16() -> None:
    inputs, bias = vectors((2, 6, 2, 4))
    query, key, value = inputs
    expected = jax.nn.dot_product_attention(query, key, value, bias)
    np.testing.assert_allclose(attention(*inputs, bias)[1], expected, **TOLERANCE)
    halves = [x.astype(jnp.bfloat16) for x in inputs]
    scores, context = attention(*halves, bias)
    assert (scores.dtype, context.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_allclose(context.astype(jnp.float32), expected, rtol=0.1, atol=0.1)
    slopes = jax.grad(lambda *x: attention(*x, bias)[1].astype(jnp.float32).sum(), argnums=(0, 1, 2))(*halves)
    assert all(slope.dtype == jnp.bfloat16 for slope in slopes)


def test_attention_keeps_no_array_of_pairs() -> None:
    inputs, bias = vectors((2, 11, 3, 4))
    _, backward = jax.vjp(lambda *x: attention(*x, bias)[1], *inputs)
    shapes = [leaf.shape for leaf in jax.tree.leaves(backward)]
    assert shapes
    assert all(shape[-2:] != (11, 11) for shape in shapes)
    # A learned bias has such an array, but one for all rows.
    relative = jnp.zeros((1, 3, 11, 11))
    _, backward = jax.vjp(lambda *x: relative_attention(*x[:3], bias, x[3])[1], *inputs, relative)
    shapes = [leaf.shape for leaf in jax.tree.leaves(backward) if leaf.shape[-2:] == (11, 11)]
    assert set(shapes) == {(1, 3, 11, 11)}


def test_gelu_keeps_one_array() -> None:
    _, backward = jax.vjp(gelu, jnp.ones((5, 7)))
    assert [leaf.shape for leaf in jax.tree.leaves(backward)] == [(5, 7)]


@pytest.mark.parametrize("shift", [0.0, 300.0])
def test_cross_entropy_of_hard_labels(shift: float) -> None:
    rng = np.random.default_rng(0)
    logits = jnp.asarray(3.0 * rng.standard_normal((4, 5, 9)) + shift, jnp.float32)
    labels = jnp.asarray(rng.integers(0, 9, (4, 5)))
    weights = jnp.asarray(rng.standard_normal((4, 5)), jnp.float32)
    tolerance: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5 + 1e-6 * shift}
    plain = optax.softmax_cross_entropy_with_integer_labels
    np.testing.assert_allclose(cross_entropy(logits, labels), plain(logits, labels), **tolerance)
    found, expected = (jax.grad(lambda x, f=f: (f(x, labels) * weights).sum())(logits) for f in (cross_entropy, plain))
    np.testing.assert_allclose(found, expected, **tolerance)


@pytest.mark.parametrize("shift", [0.0, 300.0])
def test_cross_entropy_of_soft_labels(shift: float) -> None:
    rng = np.random.default_rng(0)
    student, teacher = (jnp.asarray(3.0 * rng.standard_normal((4, 5, 9)) + shift, jnp.float32) for _ in range(2))
    # The last two entries are padded keys.
    student, teacher = (x.at[..., 7:].set(NEGATIVE) for x in (student, teacher))
    weights = jnp.asarray(rng.standard_normal((4, 5)), jnp.float32)
    tolerance: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5 + 1e-6 * shift}

    def plain(student: Any, teacher: Any) -> Any:
        return optax.softmax_cross_entropy(student, jax.nn.softmax(teacher, axis=-1))

    np.testing.assert_allclose(soft_cross_entropy(student, teacher), plain(student, teacher), **tolerance)
    found, expected = (
        jax.grad(lambda x, f=f: (f(x, teacher) * weights).sum())(student) for f in (soft_cross_entropy, plain)
    )
    np.testing.assert_allclose(found, expected, **tolerance)
    entropy = scipy.stats.entropy(np.exp(np.asarray(teacher[..., :7], np.float64) - shift), axis=-1)
    np.testing.assert_allclose(soft_cross_entropy(teacher, teacher), entropy, **tolerance)
