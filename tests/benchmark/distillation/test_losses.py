"""Distillation losses: independent NumPy versions in double precision, equality, padding, gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.distillation import losses as module

# The losses take NumPy's arrays too; their signatures name JAX's.
losses: Any = module

Array = np.ndarray


class Shape(NamedTuple):
    """Sizes of one example; student and teacher may differ in their heads."""

    layers: int = 2
    lengths: tuple[int, ...] = (5, 3, 2)
    width: int = 6
    heads: tuple[int, int] = (2, 2)
    head_sizes: tuple[int, int] = (3, 3)
    padding: int = 0

    @property
    def mask(self) -> Array:
        """1 for tokens and 0 for padding, `[batch, length]`."""
        return np.array(np.arange(max(self.lengths) + self.padding) < np.array(self.lengths)[:, None], np.float64)


# Inputs are random normal; `side` is 0 for the student and 1 for the teacher.
def features(shape: Shape, side: int) -> tuple[int, ...]:
    return (shape.layers, *shape.mask.shape, shape.width)


def scores(shape: Shape, side: int) -> tuple[int, ...]:
    rows, length = shape.mask.shape
    return (shape.layers, rows, shape.heads[side], length, length)


def values(shape: Shape, side: int) -> tuple[int, ...]:
    return (shape.layers, *shape.mask.shape, shape.heads[side], shape.head_sizes[side])


def one_layer(shape: Shape, side: int) -> tuple[int, ...]:
    return features(shape, side)[1:]


# The references: plain loops over layers and real tokens.
def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def token_means(one: Callable[[int, int, int], float], layers: int, mask: Array) -> Array:
    tokens = [(row, place) for row, place in np.ndindex(mask.shape) if mask[row, place]]
    return np.array([np.mean([one(layer, *token) for token in tokens]) for layer in range(layers)])


def per_token(measure: Callable[[Array, Array], float]) -> Callable[..., Array]:
    """The mean of a measure of two vectors."""
    return lambda s, t, mask: token_means(lambda *place: measure(s[place], t[place]), len(s), mask)


def normalized(x: Array) -> Array:
    return (x - x.mean()) / x.std()


def maps(scores: Array, layer: int, row: int, query: int, mask: Array) -> list[Array]:
    """What a query attends to among the real tokens, for each head."""
    return [softmax(head[query, mask[row] > 0]) for head in scores[layer, row]]


def per_query(measure: Callable[[Array, Array], float]) -> Callable[..., Array]:
    """The mean over heads and queries of a measure of two distributions; of the means over heads where heads differ."""

    def loss(s: Array, t: Array, mask: Array) -> Array:
        def one(layer: int, row: int, query: int) -> float:
            own, target = (maps(x, layer, row, query, mask) for x in (s, t))
            if len(own) != len(target):
                own, target = ([np.mean(x, axis=0)] for x in (own, target))
            return float(np.mean([measure(q, p) for q, p in zip(own, target, strict=True)]))

        return token_means(one, len(s), mask)

    return loss


def cross_entropy(q: Array, p: Array) -> float:
    return -float((p * np.log(q)).sum())


def divergence(q: Array, p: Array) -> float:
    return float((p * np.log(p / q)).sum())


def relations(v: Array) -> Array:
    """Scores of value relations, `[layers, batch, heads, length, length]`."""
    return np.einsum("lbqhd,lbkhd->lbhqk", v, v) / np.sqrt(v.shape[-1])


def value_relations(s: Array, t: Array, mask: Array) -> Array:
    return per_query(divergence)(relations(s), relations(t), mask)


def attention_scores(s: Array, t: Array, mask: Array) -> Array:
    if s.shape[2] != t.shape[2]:
        s, t = s.mean(axis=2, keepdims=True), t.mean(axis=2, keepdims=True)
    rows = [np.flatnonzero(row) for row in mask]
    picked = [[(s - t)[layer, row][:, k][:, :, k] for row, k in enumerate(rows)] for layer in range(len(s))]
    return np.array([np.mean(np.concatenate([(x**2).ravel() for x in layer])) for layer in picked])


def per_prediction(measure: Callable[..., float]) -> Callable[..., Array]:
    """The mean over predictions of a measure of two vectors of logits and their place."""

    def loss(s: Array, t: Array, mask: Array) -> Array:
        return token_means(lambda _, row, place: measure(s[row, place], t[row, place], (row, place)), 1, mask)[0]

    return loss


def labels(mask: Array) -> Array:
    """Labels below the smallest width that is drawn."""
    return np.add.outer(np.arange(mask.shape[0]), np.arange(mask.shape[1])) % 3


def mixed(s: Array, t: Array, place: tuple[int, int], ratio: float) -> float:
    target = (1.0 - ratio) * softmax(t)
    target[sum(place) % 3] += ratio
    return cross_entropy(softmax(s), target)


def soft(s: Array, t: Array, place: tuple[int, int], temperature: float) -> float:
    return temperature**2 * cross_entropy(softmax(s / temperature), softmax(t / temperature))


def mixed_masked_lm(s: Any, t: Any, mask: Any, ratio: float) -> Any:
    return losses.mixed_masked_lm_loss(s, t, labels(mask), mask, ratio)


class Case(NamedTuple):
    """A loss of `(student, teacher, mask)`, its reference, and the shape of its inputs.

    `constant` says that the loss is an entropy of the teacher and not 0 where both agree.
    """

    loss: Callable[..., Any]
    reference: Callable[..., Array]
    inputs: Callable[[Shape, int], tuple[int, ...]]
    constant: bool = False


SCALARS: list[tuple[str, Any, Any, str, float]] = [
    ("masked LM, ratio", mixed_masked_lm, mixed, "ratio", 0.0),
    ("masked LM, ratio", mixed_masked_lm, mixed, "ratio", 0.5),
    ("masked LM, ratio", mixed_masked_lm, mixed, "ratio", 1.0),
    ("soft, temperature", losses.soft_cross_entropy_loss, soft, "temperature", 1.0),
    ("soft, temperature", losses.soft_cross_entropy_loss, soft, "temperature", 2.5),
]
CASES = {
    "feature map": Case(
        losses.feature_map_loss, per_token(lambda s, t: ((normalized(s) - normalized(t)) ** 2).mean()), features
    ),
    "feature mean": Case(losses.feature_mean_loss, per_token(lambda s, t: (s.mean() - t.mean()) ** 2), features),
    "feature variance": Case(losses.feature_variance_loss, per_token(lambda s, t: abs(s.var() - t.var())), features),
    "hidden": Case(losses.hidden_loss, per_token(lambda s, t: ((s - t) ** 2).mean()), features),
    "embedding": Case(losses.embedding_loss, per_prediction(lambda s, t, _: ((s - t) ** 2).mean()), one_layer),
    "cosine": Case(
        losses.cosine_loss,
        per_token(lambda s, t: 1.0 - s @ t / np.linalg.norm(s) / np.linalg.norm(t)),
        features,
    ),
    "attention": Case(losses.attention_loss, per_query(cross_entropy), scores, constant=True),
    "attention relation": Case(losses.attention_relation_loss, per_query(divergence), scores),
    "attention score": Case(losses.attention_score_loss, attention_scores, scores),
    "value relation": Case(losses.value_relation_loss, value_relations, values),
} | {
    f"{name} {number}": Case(
        partial(loss, **{option: number}), per_prediction(partial(measure, **{option: number})), one_layer, True
    )
    for name, loss, measure, option, number in SCALARS
}
every_case = pytest.mark.parametrize("name", CASES)
SHAPE = Shape(padding=1)


def draw(case: Case, shape: Shape, side: int, seed: int = 0) -> Array:
    return 1.5 * np.random.default_rng((seed, side)).standard_normal(case.inputs(shape, side)) + 0.5


def shapes_of(name: str) -> list[Shape]:
    """One shape, and where heads matter another in which they differ."""
    others = [SHAPE._replace(heads=(2, 3), head_sizes=(3, 4))]
    return [SHAPE, *(others if CASES[name].inputs in (scores, values) else [])]


def at_padding(case: Case, shape: Shape, side: int) -> Array:
    """Which entries of an input belong to padding, as a query or as a key."""
    padded, target = shape.mask == 0, case.inputs(shape, side)
    if case.inputs is scores:
        padded = padded[:, None, :, None] | padded[:, None, None, :]
    else:
        places = 0 if case.inputs is one_layer else 1
        padded = padded.reshape(padded.shape + (1,) * (len(target) - 2 - places))
    return np.broadcast_to(padded, target)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    lengths = tuple(draw(st.lists(st.integers(0, 5), min_size=1, max_size=3).filter(any)))
    two = st.tuples(st.integers(1, 3), st.integers(1, 3))
    return Shape(
        draw(st.integers(1, 2)), lengths, draw(st.integers(3, 6)), draw(two), draw(two), draw(st.integers(0, 2))
    )


@cache
def compiled(name: str) -> Callable[..., Any]:
    """The loss, and the gradient of its sum over layers in the student."""

    def total(student: Any, teacher: Any, mask: Any) -> tuple[Any, Any]:
        loss = CASES[name].loss(student, teacher, mask)
        return loss.sum(), loss

    return jax.jit(jax.value_and_grad(total, has_aux=True))


def run(name: str, student: Any, teacher: Any, mask: Array, dtype: Any = np.float32) -> tuple[Array, Array]:
    with jax.enable_x64(dtype == np.float64):
        (_, loss), gradient = compiled(name)(*(np.asarray(x, dtype) for x in (student, teacher, mask)))
        return np.asarray(loss), np.asarray(gradient)


def both(name: str, shape: Shape) -> tuple[Array, Array]:
    """Student and teacher."""
    return draw(CASES[name], shape, 0), draw(CASES[name], shape, 1)


@settings(max_examples=25)
@given(name=st.sampled_from(sorted(CASES)), shape=shapes(), seed=st.integers(0, 99))
def test_against_numpy_on_any_shape(name: str, shape: Shape, seed: int) -> None:
    case = CASES[name]
    student, teacher = (draw(case, shape, side, seed) for side in (0, 1))
    with jax.enable_x64(True):
        found = np.asarray(jax.jit(case.loss)(student, teacher, shape.mask))
    np.testing.assert_allclose(found, case.reference(student, teacher, shape.mask), rtol=1e-9, atol=1e-12)


@every_case
def test_in_single_and_double_precision(name: str) -> None:
    for shape in shapes_of(name):
        student, teacher = both(name, shape)
        expected = CASES[name].reference(student, teacher, shape.mask)
        for dtype, tolerance in ((np.float32, 2e-5), (np.float64, 1e-9)):
            found, _ = run(name, student, teacher, shape.mask, dtype)
            assert found.dtype == dtype
            np.testing.assert_allclose(found, expected, rtol=tolerance)


@pytest.mark.parametrize("name", ["feature map", "cosine", "attention", "value relation", "masked LM, ratio 0.5"])
def test_half_precision_is_computed_in_single(name: str) -> None:
    student, teacher = (np.asarray(x, jnp.bfloat16) for x in both(name, SHAPE))
    found, _ = run(name, student, teacher, SHAPE.mask, jnp.bfloat16)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, run(name, student, teacher, SHAPE.mask)[0], rtol=1e-6)


@every_case
def test_at_equality(name: str) -> None:
    case = CASES[name]
    other, teacher = both(name, SHAPE)
    value, gradient = run(name, teacher, teacher, SHAPE.mask, np.float64)
    least = case.reference(teacher, teacher, SHAPE.mask) if case.constant else 0.0
    np.testing.assert_allclose(value, least, atol=1e-10)
    if name in ("masked LM, ratio 0.5", "masked LM, ratio 1.0"):
        # Hard labels ask for something else than the teacher's own distribution.
        assert gradient.any()
        return
    # No other student is better.
    assert (run(name, other, teacher, SHAPE.mask, np.float64)[0] > least + 1e-6).all()
    if name != "feature variance":
        # An absolute value has no slope at its least.
        np.testing.assert_allclose(gradient, 0.0, atol=1e-9)


@every_case
def test_padding_never_matters(name: str) -> None:
    for shape in shapes_of(name):
        student, teacher = both(name, shape)
        value, gradient = run(name, student, teacher, shape.mask)
        padded = [at_padding(CASES[name], shape, side) for side in (0, 1)]
        assert 0 < padded[0].sum() < padded[0].size
        assert np.isfinite(gradient).all()
        assert not gradient[padded[0]].any()
        assert gradient[~padded[0]].any()
        for filler in (np.nan, np.inf, -1e9, 1e30):
            for sides in ((True, True), (True, False), (False, True)):
                spoilt = [np.where(places & change, filler, 0.0) for places, change in zip(padded, sides, strict=True)]
                again, slope = run(name, student + spoilt[0], teacher + spoilt[1], shape.mask)
                np.testing.assert_array_equal(again, value, err_msg=f"{filler} {sides}")
                np.testing.assert_array_equal(slope, gradient, err_msg=f"{filler} {sides}")


@every_case
def test_a_batch_of_padding_alone_is_zero(name: str) -> None:
    value, gradient = run(name, *both(name, SHAPE), SHAPE.mask * 0)
    assert not value.any()
    assert not gradient.any()


@every_case
def test_gradients_against_finite_differences(name: str) -> None:
    for shape in shapes_of(name):
        student, teacher = both(name, shape)
        _, gradient = run(name, student, teacher, shape.mask, np.float64)
        for seed in range(3):
            direction = np.random.default_rng(seed).standard_normal(student.shape)
            ends = [run(name, student + h * direction, teacher, shape.mask, np.float64)[0].sum() for h in (1e-5, -1e-5)]
            slope = (ends[0] - ends[1]) / 2e-5
            assert slope == pytest.approx((gradient * direction).sum(), rel=1e-6, abs=1e-8)


def test_feature_map_ignores_shift_and_scale_of_a_token() -> None:
    student, _ = both("feature map", SHAPE)
    random = np.random.default_rng(0).random((2, *student.shape[:3], 1))
    found, _ = run("feature map", student, student * (1.0 + random[0]) + random[1], SHAPE.mask)
    np.testing.assert_allclose(found, 0.0, atol=1e-9)


def test_cosine_sees_direction_alone() -> None:
    student, _ = both("cosine", SHAPE)
    for factor, expected in ((3.0, 0.0), (-0.5, 2.0)):
        np.testing.assert_allclose(run("cosine", student, factor * student, SHAPE.mask)[0], expected, atol=1e-6)


def test_soft_cross_entropy_of_a_classifier() -> None:
    student, teacher = (np.random.default_rng(seed).standard_normal((4, 3)) for seed in (0, 1))
    expected = np.mean([soft(s, t, (0, 0), 2.0) for s, t in zip(student[:3], teacher[:3], strict=True)])
    weights = np.array([1.0, 1.0, 1.0, 0.0], np.float32)
    found = losses.soft_cross_entropy_loss(student.astype(np.float32), teacher.astype(np.float32), weights, 2.0)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_next_sentence_loss() -> None:
    logits = np.random.default_rng(0).standard_normal((6, 2))
    labels = np.array([0, 1, 1, -1, 0, -1], np.int32)
    counts = labels[:, None] >= 0
    compute = jax.jit(jax.value_and_grad(losses.next_sentence_loss))
    expected = np.mean([-np.log(softmax(row)[label]) for row, label in zip(logits, labels, strict=True) if label >= 0])
    value, gradient = compute(logits.astype(np.float32), labels)
    assert float(value) == pytest.approx(expected, rel=1e-6)
    # Rows that do not count may hold anything.
    again, slope = compute(np.where(counts, logits, np.nan).astype(np.float32), labels)
    assert float(again) == float(value)
    np.testing.assert_array_equal(slope, gradient)
    assert not np.asarray(slope)[labels < 0].any()
    # The gradient of a mean cross-entropy, in closed form.
    closed = [(softmax(row) - np.eye(2)[label]) / 4 for row, label in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(gradient, np.where(counts, closed, 0.0), atol=1e-6)
    # Sure and right costs nothing, no idea costs log 2, no pair at all costs nothing.
    sure = np.where(np.arange(2) == labels[:, None], 50.0, 0.0).astype(np.float32)
    assert float(compute(sure, labels)[0]) == pytest.approx(0.0, abs=1e-6)
    assert float(compute(sure * 0, labels)[0]) == pytest.approx(np.log(2.0))
    assert float(compute(sure, labels * 0 - 1)[0]) == 0.0
