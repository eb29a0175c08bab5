"""The train step: batches in parts, several steps at once, bfloat16, numbers that are not finite."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.config import EncoderConfig, OptimizerConfig, PhaseConfig
from benchmark.config.losses import LOSSES
from benchmark.distillation.objectives import PhaseObjective, loss_function
from benchmark.distillation.outputs import BATCH_AXES, teacher_outputs
from benchmark.training.batches import count_tokens
from benchmark.training.losses import masked_lm_loss
from benchmark.training.masking import SpecialTokens, mask_tokens
from benchmark.training.optimizers import make_optimizer
from benchmark.training.pretrain import init_params
from benchmark.training.state import Mean, divide, init_state, make_train_step, repeat_step

SPECIAL = SpecialTokens(vocab_size=40, pad_id=0, cls_id=2, sep_id=3, mask_id=4)
ENCODER = EncoderConfig(
    vocab_size=40,
    embedding_size=8,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intra_bottleneck_size=8,
    intermediate_size=8,
    num_feedforward_networks=1,
    max_position_embeddings=16,
    initializer_range=0.3,
)
OPTIMIZER = make_optimizer(OptimizerConfig(weight_decay=0.1, clip_norm=0.5, epsilon=1e-3))
# Steps along the gradient: quicker to compile, and nothing hides how long the gradient is.
PLAIN = optax.identity()
ROWS, PLACES = 8, 5


@pytest.fixture(autouse=True)
def quick_compiles() -> Iterator[None]:
    """Most of the time goes into compiling models; what is tested does not depend on how well they are optimised."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def scores(params: Any, batch: Any, settings: dict[str, Any]) -> Any:
    """A model with two losses: one a mean over weighted places, one over rows with a weight of their own."""
    outputs = jnp.tanh(batch["inputs"] @ params["w"])
    places, rows = batch["places"], batch["rows"]
    first = (jnp.square(outputs - 1.0) * places).sum() / jnp.maximum(places.sum(), 1.0)
    second = (jnp.abs(outputs.sum(-1)) * rows).sum() / jnp.maximum(rows.sum(), 1.0)
    small = ((jnp.abs(outputs) < 0.5) * places).sum() / jnp.maximum(places.sum(), 1.0)
    terms = {"first": Mean(first, places.sum()), "second": Mean(settings["factor"] * second, rows.sum())}
    return terms, {"small": Mean(small, places.sum())}


WHOLE = make_train_step(scores, OPTIMIZER)
PARTS = {count: make_train_step(scores, OPTIMIZER, accumulation_steps=count) for count in (2, 4, 8)}
REPEATED = repeat_step(WHOLE)


def toy_state() -> Any:
    return init_state({"w": jnp.asarray(np.random.default_rng(0).standard_normal((3, PLACES)), jnp.float32)}, OPTIMIZER)


def toy_batch(places: np.ndarray, rows: np.ndarray, seed: int = 1) -> dict[str, np.ndarray]:
    inputs = np.random.default_rng(seed).standard_normal((ROWS, 3)).astype(np.float32)
    return {"inputs": inputs, "places": places.astype(np.float32), "rows": rows.astype(np.float32)}


def assert_close(one: Any, two: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    for (path, a), b in zip(jax.tree.leaves_with_path(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=jax.tree_util.keystr(path))


weights = st.lists(st.integers(0, 1), min_size=ROWS * PLACES, max_size=ROWS * PLACES)


@settings(max_examples=25)
@given(places=weights, rows=st.lists(st.integers(0, 3), min_size=ROWS, max_size=ROWS), parts=st.sampled_from([2, 4, 8]))
def test_a_batch_in_parts_gives_the_same_step(places: list[int], rows: list[int], parts: int) -> None:
    """Whatever the weights: parts without any, and batches without any, among them."""
    batch = toy_batch(np.reshape(places, (ROWS, PLACES)), np.array(rows))
    factor = {"factor": np.float32(0.7)}
    (one, figures), (two, others) = (
        step(toy_state(), batch, np.float32(0.1), factor) for step in (WHOLE, PARTS[parts])
    )
    assert_close(figures, others)
    assert_close(one, two)


def test_the_parts_of_a_batch_weigh_differently() -> None:
    """The weights of the test above matter: a plain average over the parts is something else."""
    places = np.zeros((ROWS, PLACES))
    places[0, :], places[1, 0] = 1, 1
    batch = toy_batch(places, np.arange(ROWS))
    divided = divide(batch, 2)
    state = toy_state()
    values = [scores(state.params, jax.tree.map(lambda x, i=i: x[i], divided), {"factor": 1.0})[0] for i in range(2)]
    whole = scores(state.params, batch, {"factor": 1.0})[0]
    for name in ("first", "second"):
        average = sum(float(value[name].value) for value in values) / 2
        assert abs(average - float(whole[name].value)) > 0.01


def test_a_plain_loss_is_a_mean_over_rows() -> None:
    def loss(params: Any, batch: Any, settings: dict[str, Any]) -> Any:
        return jnp.square(batch["inputs"] @ params["w"]).mean(), {"largest": jnp.mean(batch["inputs"].max(-1))}

    batch = toy_batch(np.ones((ROWS, PLACES)), np.ones(ROWS))
    whole, parts = (
        make_train_step(loss, OPTIMIZER, accumulation_steps=count)(toy_state(), batch, np.float32(0.1), {})
        for count in (1, 4)
    )
    assert_close(whole, parts)


def test_division_of_a_batch() -> None:
    batch = (np.arange(6), {"deep": np.arange(12).reshape(2, 6)})
    first, second = divide(batch, 3, (0, {"deep": 1}))
    assert first.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert second["deep"].tolist() == [[[0, 3], [6, 9]], [[1, 4], [7, 10]], [[2, 5], [8, 11]]]
    with pytest.raises(ValueError, match="6 rows cannot be divided into 4 equal parts"):
        divide(np.arange(6), 4)


def masked_batch(seed: int = 0) -> Any:
    """Rows of very different lengths, so that parts of the batch have different numbers of tokens and predictions."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, 40, (4, 16)).astype(np.int32)
    for row, length in enumerate((16, 5, 14, 4)):
        ids[row, 0], ids[row, length - 1], ids[row, length:] = SPECIAL.cls_id, SPECIAL.sep_id, SPECIAL.pad_id
    return mask_tokens(jax.random.key(seed), ids, SPECIAL, 0.3)


def test_a_distillation_in_parts_gives_the_same_step() -> None:
    """All terms there are, whose means are over tokens, predictions and pairs, on arrays with two batch axes."""
    weights = dict.fromkeys(LOSSES, 1.0)
    phase = PhaseConfig(name="all", steps=1, optimizer=OptimizerConfig(), ground_truth_ratio=0.5, weights=weights)
    objective = PhaseObjective.from_phases([phase])
    loss = loss_function(ENCODER, (0,), objective)
    batch = masked_batch()._replace(next_sentence_labels=jnp.array([0, 1, -1, 1]))
    assert len(set(np.asarray(batch.weights.sum(axis=1)).tolist())) > 1
    teacher = teacher_outputs(ENCODER, init_params(ENCODER, 7), batch, objective.teacher_needs)
    batch, options = (batch, teacher), objective.settings(phase, np.ones(1))
    results = []
    for count in (1, 2):
        step = make_train_step(
            loss,
            PLAIN,
            accumulation_steps=count,
            batch_axes=(0, BATCH_AXES),
            count_tokens=lambda b: count_tokens(b[0]),
        )
        state = init_state({"student": init_params(ENCODER, 0, next_sentence=True)}, PLAIN)
        results.append(step(state, batch, np.float32(0.01), options))
    (_, figures), (_, others) = results
    assert {*weights, "gradient_norm"} < set(figures)
    assert int(figures["tokens"]) == 16 + 5 + 14 + 4
    assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_several_steps_at_once_are_the_steps_one_by_one() -> None:
    rng = np.random.default_rng(3)
    batches = [toy_batch(rng.integers(0, 2, (ROWS, PLACES)), np.arange(ROWS), seed) for seed in range(4)]
    rates = [np.float32(0.1 / (i + 1)) for i in range(4)]
    factors = [{"factor": np.float32(i)} for i in range(4)]
    state, figures = toy_state(), []
    for inputs in zip(batches, rates, factors, strict=True):
        state, figure = WHOLE(state, *inputs)
        figures.append(figure)
    stacked = jax.tree.map(lambda *x: np.stack(x), *zip(batches, rates, factors, strict=True))
    at_once, together = REPEATED(toy_state(), *stacked)
    assert_close(at_once, state)
    for index, figure in enumerate(figures):
        assert_close(jax.tree.map(lambda x, i=index: x[i], together), figure)


def product_types(program: Any) -> Iterator[str]:
    """Types of both sides of every matrix product of a program, also in its loops."""
    for equation in program.eqns:
        if equation.primitive.name == "dot_general":
            yield from (side.aval.dtype.name for side in equation.invars)
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                yield from product_types(getattr(inner, "jaxpr", inner))


def test_bfloat16_computes_in_bfloat16_and_keeps_float32() -> None:
    batch = masked_batch()
    start = init_params(ENCODER, 0)
    results = {}
    for dtype in ("float32", "bfloat16"):
        loss = masked_lm_loss(ENCODER, compute_dtype=dtype)
        kinds = list(product_types(jax.make_jaxpr(loss)(start, batch, {}).jaxpr))
        assert len(kinds) >= 12 and set(kinds) == {dtype}
        step = make_train_step(loss, PLAIN)
        results[dtype] = step(init_state(jax.tree.map(jnp.array, start), PLAIN), batch, np.float32(0.01), {})
    (exact, exact_figures), (rough, rough_figures) = results["float32"], results["bfloat16"]
    assert {leaf.dtype.name for leaf in jax.tree.leaves(rough)} == {"float32"}
    assert rough_figures["loss"].dtype == jnp.float32
    assert float(rough_figures["loss"]) != float(exact_figures["loss"])
    assert float(rough_figures["loss"]) == pytest.approx(float(exact_figures["loss"]), rel=0.02)
    assert_close(rough.params, exact.params, rtol=0.2, atol=0.02)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("step", [WHOLE, PARTS[4]], ids=["whole", "parts"])
def test_a_number_that_is_not_finite_never_reaches_the_parameters(step: Any, value: float) -> None:
    good = toy_batch(np.ones((ROWS, PLACES)), np.ones(ROWS))
    bad = {**good, "inputs": good["inputs"].copy()}
    bad["inputs"][3, 1] = value
    settings = {"factor": np.float32(value)} if np.isinf(value) else {"factor": np.float32(1.0)}
    state, figures = step(toy_state(), bad, np.float32(0.1), settings)
    assert not bool(figures["sound"])
    assert np.array_equal(state.params["w"], toy_state().params["w"])
    # The optimizer's state may be spoilt now; still nothing gets from there into the parameters.
    state, figures = step(state, good, np.float32(0.1), {"factor": np.float32(1.0)})
    assert np.isfinite(state.params["w"]).all()


def test_a_gradient_that_is_not_finite_is_noticed_though_the_loss_is() -> None:
    def loss(params: Any, batch: Any, settings: dict[str, Any]) -> Any:
        return jnp.sqrt(jnp.abs(params["w"])).sum(), {}

    state = init_state({"w": jnp.array([0.0, 4.0])}, OPTIMIZER)
    state, figures = make_train_step(loss, OPTIMIZER)(state, np.zeros(2), np.float32(0.1), {})
    assert float(figures["loss"]) == 2.0 and not bool(figures["sound"])
    assert state.params["w"].tolist() == [0.0, 4.0]


def test_an_optimizer_that_divides_by_zero_is_noticed() -> None:
    """Adam without epsilon, on a parameter that has no gradient."""
    optimizer = make_optimizer(OptimizerConfig(epsilon=0.0, weight_decay=0.0))
    state = init_state({"w": jnp.ones(3)}, optimizer)

    def loss(params: Any, batch: Any, settings: dict[str, Any]) -> Any:
        return jnp.square(params["w"][:2]).sum(), {}

    state, figures = make_train_step(loss, optimizer)(state, np.zeros(2), np.float32(0.1), {})
    assert not bool(figures["sound"])
    assert np.isfinite(state.params["w"]).all()
