"""The loss of a phase: the weighted sum of its terms, and nothing asked of a model that no term reads."""

import dataclasses
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmark.config import EncoderConfig, OptimizerConfig, PhaseConfig
from benchmark.config.losses import LOSSES
from benchmark.distillation import losses
from benchmark.distillation.objectives import FUNCTIONS, PhaseObjective, loss_function
from benchmark.distillation.outputs import Needs, Outputs, teacher_outputs
from benchmark.models.heads import MaskedLM
from benchmark.training.masking import MaskedBatch
from benchmark.training.pretrain import init_params
from tasks.system.repository import REPOSITORY

STUDENT = EncoderConfig(
    vocab_size=30,
    embedding_size=4,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intra_bottleneck_size=None,
    intermediate_size=8,
    num_feedforward_networks=1,
    max_position_embeddings=8,
    initializer_range=0.2,
    # With trigrams a token reads its neighbours, padding too.
    trigram_input=False,
    pooler="tanh",
)
TEACHER = dataclasses.replace(
    STUDENT, num_hidden_layers=4, hidden_size=12, num_attention_heads=3, key_query_shared_bottleneck=False
)
LAYERS = (1, 3)
TERMS = tuple(LOSSES)


def phase(**settings: Any) -> PhaseConfig:
    return PhaseConfig(name="phase", steps=1, optimizer=OptimizerConfig(), **settings)


def make_batch() -> MaskedBatch:
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 30, (3, 7))
    mask = np.arange(7)[None] < np.array([[7], [5], [4]])
    return MaskedBatch(
        input_ids=jnp.asarray(np.where(mask, ids, 0), jnp.int32),
        attention_mask=jnp.asarray(mask, jnp.int32),
        token_type_ids=jnp.zeros((3, 7), jnp.int32),
        positions=jnp.asarray([[1, 2], [3, 1], [2, 0]], jnp.int32),
        labels=jnp.asarray(rng.integers(5, 30, (3, 2)), jnp.int32),
        weights=jnp.asarray([[1, 1], [1, 1], [1, 0]], jnp.float32),
        next_sentence_labels=jnp.asarray([0, 1, 1], jnp.int32),
    )


BATCH = make_batch()
FOLLOWS: Any = BATCH.next_sentence_labels
EVERYTHING = Needs(logits=True, embeddings=True, hidden_states=True, attention_scores=True, values=True)


@pytest.fixture(scope="module")
def params() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    maps = {
        name: {"kernel": rng.normal(size=(8, 12)).astype(np.float32)} for name in ("projection", "embedding_projection")
    }
    return {"student": init_params(STUDENT, 1, next_sentence=True), **maps}


@pytest.fixture(scope="module")
def teacher_params() -> Any:
    return init_params(TEACHER, 2)


@jax.jit
def by_hand(params: Any, teacher_params: Any) -> dict[str, Any]:
    """Each term by its own call of the loss, from outputs that the models give without any selection."""
    inputs = BATCH.input_ids, BATCH.attention_mask, BATCH.token_type_ids, BATCH.positions
    options = {"output_hidden_states": True, "output_attentions": True, "output_values": True}
    own = MaskedLM(STUDENT, next_sentence=True).apply({"params": params["student"]}, *inputs, **options)
    teacher = MaskedLM(TEACHER).apply({"params": teacher_params}, *inputs, **options)
    mask, mapped = BATCH.attention_mask.astype(jnp.float32), np.asarray(LAYERS)
    states = own.encoder.hidden_states @ params["projection"]["kernel"]
    target = teacher.encoder.hidden_states[mapped]
    scores, their_scores = own.encoder.attention_scores, teacher.encoder.attention_scores[mapped]
    embeddings = own.encoder.embeddings @ params["embedding_projection"]["kernel"]
    labels = BATCH.labels, BATCH.weights
    return {
        "feature_map": losses.feature_map_loss(states, target, mask),
        "feature_mean": losses.feature_mean_loss(states, target, mask),
        "feature_variance": losses.feature_variance_loss(states, target, mask),
        "attention": losses.attention_loss(scores, their_scores, mask),
        "hidden": losses.hidden_loss(states, target, mask),
        "attention_score": losses.attention_score_loss(scores, their_scores, mask),
        "cosine": losses.cosine_loss(states, target, mask),
        "attention_relation": losses.attention_relation_loss(scores, their_scores, mask),
        "value_relation": losses.value_relation_loss(own.encoder.values, teacher.encoder.values[mapped], mask),
        "embedding": losses.embedding_loss(embeddings, teacher.encoder.embeddings, mask),
        "masked_lm": losses.mixed_masked_lm_loss(own.logits, teacher.logits, *labels, 0.25),
        "soft_cross_entropy": losses.soft_cross_entropy_loss(own.logits, teacher.logits, BATCH.weights, 2.0),
        "next_sentence": losses.next_sentence_loss(own.next_sentence_logits, FOLLOWS),
    }


@pytest.fixture(scope="module")
def expected(params: Any, teacher_params: Any) -> dict[str, Any]:
    return jax.tree.map(np.asarray, by_hand(params, teacher_params))


@cache
def compiled(objective: PhaseObjective) -> Any:
    """The loss, and its terms as they enter it."""
    loss = loss_function(STUDENT, LAYERS, objective)

    def numbers(*arguments: Any) -> Any:
        terms, _ = loss(*arguments)
        parts = {name: mean.value for name, mean in terms.items()}
        return sum(parts.values()), parts

    return jax.jit(numbers)


def compute(
    objective: PhaseObjective,
    config: PhaseConfig,
    params: Any,
    teacher_params: Any,
    weights: Any = (1, 1),
    batch: Any = BATCH,
) -> Any:
    seen = teacher_outputs(TEACHER, teacher_params, batch, objective.teacher_needs)
    settings = objective.settings(config, np.asarray(weights, np.float32))
    return compiled(objective)(params, (batch, seen), settings)


def test_every_term_enters_with_its_weight(params: Any, teacher_params: Any, expected: dict[str, Any]) -> None:
    weights = {term: 0.5 + number for number, term in enumerate(TERMS)}
    config = phase(temperature=2.0, ground_truth_ratio=0.25, weights=weights)
    loss, parts = compute(PhaseObjective.from_phases([config]), config, params, teacher_params, [0.5, 2.0])
    assert set(parts) == set(TERMS)
    for term in TERMS:
        value = expected[term] @ np.array([0.5, 2.0]) if LOSSES[term].compares_layers else expected[term]
        np.testing.assert_allclose(parts[term], weights[term] * value, rtol=2e-5, err_msg=term)
    np.testing.assert_allclose(loss, sum(parts.values()), rtol=1e-6)


def test_the_last_layer_alone(params: Any, teacher_params: Any, expected: dict[str, Any]) -> None:
    terms = ("cosine", "attention_relation", "value_relation")
    config = phase(layers="last", weights=dict.fromkeys(terms, 1.0))
    alone = PhaseObjective.from_phases([config])
    # Beside a phase that reads all layers, in one program, the same comes out.
    shared = PhaseObjective.from_phases([config, phase(weights={"hidden": 1.0})])
    assert (alone.last_layer, shared.last_layer) == (True, False)
    for objective in (alone, shared):
        _, parts = compute(objective, config, params, teacher_params)
        for term in terms:
            np.testing.assert_allclose(parts[term], expected[term][-1], rtol=2e-5, atol=1e-6)


def test_terms_of_other_phases_have_weight_0(params: Any, teacher_params: Any, expected: dict[str, Any]) -> None:
    one, two = phase(weights={"hidden": 3.0}), phase(weights={"masked_lm": 2.0}, ground_truth_ratio=0.25)
    objective = PhaseObjective.from_phases([one, two])
    assert objective.terms == {"hidden", "masked_lm"}
    loss, parts = compute(objective, one, params, teacher_params)
    assert parts["masked_lm"] == 0.0
    np.testing.assert_allclose(loss, 3.0 * expected["hidden"].sum(), rtol=2e-5)
    loss, parts = compute(objective, two, params, teacher_params)
    assert parts["hidden"] == 0.0
    np.testing.assert_allclose(loss, 2.0 * expected["masked_lm"], rtol=2e-5)


def test_hard_labels_ask_nothing_of_the_teacher(params: Any, teacher_params: Any) -> None:
    config = phase(weights={"masked_lm": 1.0})
    objective = PhaseObjective.from_phases([config])
    assert objective.teacher_needs == Needs()
    loss, _ = compute(objective, config, params, teacher_params)
    inputs = BATCH.input_ids, BATCH.attention_mask, BATCH.token_type_ids, BATCH.positions
    logits = jax.jit(MaskedLM(STUDENT).apply)({"params": params["student"]}, *inputs).logits
    hard = losses.mixed_masked_lm_loss(logits, logits, BATCH.labels, BATCH.weights, 1.0)
    np.testing.assert_allclose(loss, hard, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "student", "teacher"),
    [
        (
            {"weights": {"feature_map": 1, "attention": 1}},
            "hidden_states attention_scores",
            "hidden_states attention_scores",
        ),
        ({"weights": {"masked_lm": 1}, "ground_truth_ratio": 0.5}, "logits", "logits"),
        ({"weights": {"masked_lm": 1, "next_sentence": 1}}, "logits next_sentence_logits", ""),
        ({"weights": {"soft_cross_entropy": 1, "cosine": 1}}, "logits hidden_states", "logits hidden_states"),
        ({"weights": {"embedding": 1, "value_relation": 1}}, "embeddings values", "embeddings values"),
        ({"weights": {"hidden": 1}, "layers": "last"}, "hidden_states last_layer", "hidden_states last_layer"),
    ],
)
def test_needs(settings: dict[str, Any], student: str, teacher: str) -> None:
    objective = PhaseObjective.from_phases([phase(**settings)])
    for needs, names in ((objective.student_needs, student), (objective.teacher_needs, teacher)):
        assert {name for name, asked in needs._asdict().items() if asked} == set(names.split())


def test_only_what_is_asked_for_is_handed_out(teacher_params: Any) -> None:
    nothing, last, every = (
        teacher_outputs(TEACHER, teacher_params, BATCH, needs)
        for needs in (Needs(), EVERYTHING._replace(last_layer=True), EVERYTHING)
    )
    assert all(value is None for value in nothing)
    for name in ("hidden_states", "attention_scores", "values"):
        assert getattr(every, name).shape[0] == 4
        np.testing.assert_allclose(getattr(last, name), getattr(every, name)[-1:], atol=1e-6)


def test_padding_never_matters(params: Any, teacher_params: Any) -> None:
    config = phase(ground_truth_ratio=0.5, temperature=2.0, weights=dict.fromkeys(TERMS, 1.0))
    other = BATCH._replace(input_ids=jnp.where(BATCH.attention_mask > 0, BATCH.input_ids, 17))
    found = [
        compute(PhaseObjective.from_phases([config]), config, params, teacher_params, batch=batch)[1]
        for batch in (BATCH, other)
    ]
    for term in TERMS:
        np.testing.assert_allclose(found[0][term], found[1][term], rtol=1e-5, err_msg=term)
        assert np.isfinite(found[0][term])


def test_the_table_the_functions_and_the_documentation_agree() -> None:
    """One list of losses: each has its function, an output that it can read, and its row in the documentation."""
    assert set(FUNCTIONS) == set(LOSSES)
    assert {loss.reads for loss in LOSSES.values()} <= set(Needs._fields) & set(Outputs._fields)
    assert all(loss.function.endswith("_loss") and loss.source for loss in LOSSES.values())
    text = (REPOSITORY / "docs" / "distillation.md").read_text(encoding="utf-8")
    table = text[text.index("| Loss | Formula |") :].partition("\n\n")[0].splitlines()[2:]
    assert sorted(line.split("`")[1] for line in table) == sorted(LOSSES)
