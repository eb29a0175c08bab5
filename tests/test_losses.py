"""Distillation losses against independent NumPy versions in double precision."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmark.distillation import losses as module

# The losses take NumPy's arrays too; their signatures name JAX's.
losses: Any = module

LAYERS, BATCH, LENGTH, HIDDEN, VOCAB = 2, 3, 5, 8, 11
MASK = (np.arange(LENGTH) < np.array([[5], [3], [2]])).astype(np.float32)


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def features(seed: int) -> np.ndarray:
    return 2.0 * random(seed, LAYERS, BATCH, LENGTH, HIDDEN) + 1.0


def attention(seed: int, heads: int) -> np.ndarray:
    scores = random(seed, LAYERS, BATCH, heads, LENGTH, LENGTH)
    return scores + np.where(MASK[:, None, None, :] > 0, 0.0, -1e9).astype(np.float32)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def over_tokens(one: Callable[[int, int, int], float]) -> list[float]:
    """The mean of `one(layer, row, position)` over real tokens, for each layer."""
    tokens = [(b, t) for b in range(BATCH) for t in range(LENGTH) if MASK[b, t]]
    return [float(np.mean([one(layer, b, t) for b, t in tokens])) for layer in range(LAYERS)]


def feature_map(student: np.ndarray, teacher: np.ndarray) -> list[float]:
    def one(layer: int, b: int, t: int) -> float:
        x, y = (v[layer, b, t].astype(np.float64) for v in (student, teacher))
        return float(np.mean(((x - x.mean()) / x.std() - (y - y.mean()) / y.std()) ** 2))

    return over_tokens(one)


def feature_mean(student: np.ndarray, teacher: np.ndarray) -> list[float]:
    return over_tokens(lambda layer, b, t: float((student[layer, b, t].mean() - teacher[layer, b, t].mean()) ** 2))


def feature_variance(student: np.ndarray, teacher: np.ndarray) -> list[float]:
    return over_tokens(lambda layer, b, t: float(abs(student[layer, b, t].var() - teacher[layer, b, t].var())))


def attention_cross_entropy(student: np.ndarray, teacher: np.ndarray) -> list[float]:
    p, q = (softmax(v.astype(np.float64)) for v in (teacher, student))
    if p.shape[2] != q.shape[2]:
        p, q = p.mean(axis=2, keepdims=True), q.mean(axis=2, keepdims=True)

    def one(layer: int, b: int, t: int) -> float:
        real = int(MASK[b].sum())
        rows = [(p[layer, b, h, t, :real], q[layer, b, h, t, :real]) for h in range(p.shape[2])]
        return float(np.mean([-(x * np.log(y)).sum() for x, y in rows]))

    return over_tokens(one)


FEATURE_LOSSES = [
    (losses.feature_map_loss, feature_map),
    (losses.feature_mean_loss, feature_mean),
    (losses.feature_variance_loss, feature_variance),
]


@pytest.mark.parametrize(("ours", "expected"), FEATURE_LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_feature_losses(ours: Any, expected: Any, seed: int) -> None:
    student, teacher = features(seed), features(seed + 100)
    np.testing.assert_allclose(ours(student, teacher, MASK), expected(student, teacher), rtol=2e-5)
    np.testing.assert_allclose(ours(teacher, teacher, MASK), 0.0, atol=1e-10)


def test_feature_map_ignores_shift_and_scale_of_a_token() -> None:
    student = features(0)
    teacher = student * (1.0 + abs(random(1, LAYERS, BATCH, LENGTH, 1))) + random(2, LAYERS, BATCH, LENGTH, 1)
    np.testing.assert_allclose(losses.feature_map_loss(student, teacher, MASK), 0.0, atol=1e-9)


@pytest.mark.parametrize(("student_heads", "teacher_heads"), [(2, 2), (1, 4), (4, 1), (2, 3)])
def test_attention_loss(student_heads: int, teacher_heads: int) -> None:
    student, teacher = attention(0, student_heads), attention(1, teacher_heads)
    expected = attention_cross_entropy(student, teacher)
    np.testing.assert_allclose(losses.attention_loss(student, teacher, MASK), expected, rtol=2e-5)


@pytest.mark.parametrize("heads", [1, 3])
def test_attention_loss_at_equality_is_the_entropy(heads: int) -> None:
    scores = attention(0, heads)
    entropy = attention_cross_entropy(scores, scores)
    np.testing.assert_allclose(losses.attention_loss(scores, scores, MASK), entropy, rtol=2e-5)
    # Cross-entropy is smallest where both distributions agree.
    assert (np.asarray(losses.attention_loss(attention(5, heads), scores, MASK)) > entropy).all()


def masked_lm(student: np.ndarray, teacher: np.ndarray, labels: np.ndarray, ratio: float) -> np.ndarray:
    """Loss of every prediction."""
    log_student = np.log(softmax(student.astype(np.float64)))
    target = ratio * np.eye(VOCAB)[labels] + (1.0 - ratio) * softmax(teacher.astype(np.float64))
    return -(target * log_student).sum(axis=-1)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_mixed_masked_lm_loss(ratio: float) -> None:
    student, teacher = random(0, BATCH, 4, VOCAB), random(1, BATCH, 4, VOCAB)
    labels = np.random.default_rng(2).integers(0, VOCAB, (BATCH, 4))
    weights = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], np.float32)
    expected = masked_lm(student, teacher, labels, ratio)[weights > 0].mean()
    result = losses.mixed_masked_lm_loss(student, teacher, labels, weights, ratio)
    assert float(result) == pytest.approx(expected, rel=1e-5)
    # Fillers have no say.
    changed = np.where(weights[..., None] > 0, student, 50.0)
    np.testing.assert_array_equal(losses.mixed_masked_lm_loss(changed, teacher, labels, weights, ratio), result)
    nothing = losses.mixed_masked_lm_loss(student, teacher, labels, weights * 0, ratio)
    assert float(nothing) == 0.0


def test_padding_never_matters() -> None:
    student, teacher = features(0), features(1)
    padded = np.where(MASK[None, :, :, None] > 0, 0.0, 1e3).astype(np.float32)
    for loss, _ in FEATURE_LOSSES:
        np.testing.assert_array_equal(loss(student + padded, teacher - padded, MASK), loss(student, teacher, MASK))
    for heads in (2, 3):
        scores, target = attention(0, heads), attention(1, 2)
        # Queries at padding take any value, padded keys stay masked.
        shifted = scores + np.where(MASK[None, :, None, :, None] > 0, 0.0, random(3, LENGTH)).astype(np.float32)
        before, after = (losses.attention_loss(s, target, MASK) for s in (scores, shifted))
        np.testing.assert_array_equal(before, after)


def test_a_batch_of_padding_alone_is_finite() -> None:
    empty = MASK * 0
    for loss, _ in FEATURE_LOSSES:
        np.testing.assert_array_equal(loss(features(0), features(1), empty), np.zeros(LAYERS))


LABELS = np.zeros((BATCH, LENGTH), np.int32)
GRADIENTS: dict[str, tuple[Callable[[Any], Any], np.ndarray]] = {
    "map": (lambda x: losses.feature_map_loss(x, features(1), MASK).sum(), features(0)),
    "mean": (lambda x: losses.feature_mean_loss(x, features(1), MASK).sum(), features(0)),
    "variance": (lambda x: losses.feature_variance_loss(x, features(1), MASK).sum(), features(0)),
    "attention": (lambda x: losses.attention_loss(x, attention(1, 2), MASK).sum(), attention(0, 2)),
    "attention, other heads": (lambda x: losses.attention_loss(x, attention(1, 2), MASK).sum(), attention(0, 3)),
    "masked LM": (
        lambda x: losses.mixed_masked_lm_loss(x, random(1, BATCH, LENGTH, VOCAB), LABELS, MASK, 0.5),
        random(0, BATCH, LENGTH, VOCAB),
    ),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_against_finite_differences(name: str) -> None:
    loss, x = GRADIENTS[name]
    gradient = np.asarray(jax.grad(loss)(jnp.asarray(x)))
    assert np.isfinite(gradient).all()
    # Padded keys lie near -1e9, where a small step is lost to rounding; they are left where they are.
    direction = np.where(x > -1e8, random(7, *x.shape), 0.0).astype(np.float32)
    step = np.float32(1e-2)
    slope = (float(loss(x + step * direction)) - float(loss(x - step * direction))) / (2 * float(step))
    assert slope == pytest.approx(float((gradient * direction).sum()), rel=2e-2, abs=1e-3)
