"""Masking, optimizers, initial values, the fit loop and the masked-LM evaluation."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmark.config import EncoderConfig, OptimizerConfig, PretrainConfig, TrainerConfig
from benchmark.evaluation.masked_lm import evaluate_masked_lm, row_key
from benchmark.models.heads import MaskedLM, SequenceModel
from benchmark.training import checkpoints
from benchmark.training.batches import take_rows
from benchmark.training.fit import DivergedError, Steps, fit
from benchmark.training.initial import init_tree
from benchmark.training.job import TrainingJob
from benchmark.training.masking import SpecialTokens, mask_rows, mask_tokens, num_predictions, random_tokens
from benchmark.training.optimizers import learning_rate, make_optimizer
from benchmark.training.pretrain import init_params, load_params, pretrain
from benchmark.training.state import init_state, make_train_step
from tasks.arrays.token_arrays import TokenArrays

SPECIAL = SpecialTokens(vocab_size=200, pad_id=0, cls_id=2, sep_id=3, mask_id=4)
TINY = EncoderConfig(
    vocab_size=200,
    embedding_size=8,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intra_bottleneck_size=8,
    intermediate_size=8,
    num_feedforward_networks=1,
    max_position_embeddings=32,
)


def token_rows(count: int, length: int = 22, seed: int = 0) -> np.ndarray:
    """`[CLS] tokens [SEP]` rows, full or padded."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, SPECIAL.vocab_size, (count, length))
    for row, size in enumerate(rng.integers(5, length + 1, count)):
        ids[row, 0], ids[row, size - 1], ids[row, size:] = SPECIAL.cls_id, SPECIAL.sep_id, SPECIAL.pad_id
    return ids.astype(np.int32)


def token_arrays(ids: np.ndarray) -> TokenArrays:
    return TokenArrays(Path(), {"input_ids": ids}, {"rows": len(ids)})


def test_masking_statistics() -> None:
    ids = token_rows(4000)
    batch = mask_tokens(jax.random.key(0), ids, SPECIAL, 0.15)
    chosen = np.asarray(batch.weights) > 0
    positions, labels = np.asarray(batch.positions), np.asarray(batch.labels)
    # A fixed number of places; a row has as many predictions as its real tokens ask for, at least one.
    assert chosen.shape == (4000, num_predictions(22, 0.15)) == (4000, 3)
    real = ((ids != SPECIAL.pad_id) & (ids != SPECIAL.cls_id) & (ids != SPECIAL.sep_id)).sum(axis=1)
    assert chosen.sum(axis=1).tolist() == np.maximum(1, np.round(real * np.float32(0.15))).astype(int).tolist()
    assert np.array_equal(np.take_along_axis(ids, positions, axis=1), labels)
    assert not set(labels[chosen].tolist()) & {SPECIAL.pad_id, SPECIAL.cls_id, SPECIAL.sep_id}
    # Nothing but the chosen places changes, and no place is chosen twice.
    masked = np.asarray(batch.input_ids)
    where = np.zeros(ids.shape, bool)
    where[np.repeat(np.arange(4000), chosen.sum(axis=1)), positions[chosen]] = True
    assert where.sum() == chosen.sum()
    assert np.array_equal(masked[~where], ids[~where])
    now, before = masked[where], ids[where]
    count = len(now)
    # 80 % [MASK], 10 % random, 10 % unchanged, within five standard deviations; a random token may be the old one.
    deviation = 5 * np.sqrt(0.1 * 0.9 / count)
    assert abs((now == SPECIAL.mask_id).mean() - 0.8) < 2 * deviation
    assert abs((now == before).mean() - 0.1) < deviation + 0.1 / 190
    assert now[now != SPECIAL.mask_id].min() > SPECIAL.mask_id
    assert now.max() < SPECIAL.vocab_size
    # Every place of a full row is as likely as the others.
    full = real == 20
    shares = where[full][:, 1:-1].mean(axis=0)
    assert abs(shares - 3 / 20).max() < 5 * np.sqrt(0.15 * 0.85 / full.sum())


def test_random_tokens_are_those_of_texts_each_as_often() -> None:
    """With [MASK] last and unused ids in between; one range behind [MASK] draws what a plain draw does."""
    special = SpecialTokens(60, 59, 2, 3, 58, text_ranges=((0, 2), (5, 20), (30, 58)))
    allowed = [*range(2), *range(5, 20), *range(30, 58)]
    found = np.asarray(random_tokens(jax.random.key(1), (200, 300), special))
    counts = np.bincount(found.ravel(), minlength=60)
    assert np.flatnonzero(counts).tolist() == allowed
    expected = found.size / len(allowed)
    assert ((counts[allowed] - expected) ** 2 / expected).sum() < len(allowed) + 6 * np.sqrt(2 * len(allowed))
    for ranges in ((), ((5, 200),)):
        drawn = random_tokens(jax.random.key(3), (40, 3), dataclasses.replace(SPECIAL, text_ranges=ranges))
        assert np.array_equal(drawn, jax.random.randint(jax.random.key(3), (40, 3), 5, 200))


def test_unknown_tokens_are_never_predicted() -> None:
    ids = token_rows(300)
    ids[:, 1:3] = 1
    special = dataclasses.replace(SPECIAL, unk_id=1)
    batch = mask_tokens(jax.random.key(0), ids, special, 0.5)
    chosen = np.asarray(batch.weights) > 0
    assert not (np.asarray(batch.labels)[chosen] == 1).any()
    real = (ids > 4).sum(axis=1)
    assert chosen.sum(axis=1).tolist() == np.where(real, np.maximum(1, np.round(real * 0.5)), 0).astype(int).tolist()
    assert (np.asarray(batch.input_ids)[:, 1:3] == 1).all()


def test_masking_depends_on_the_key_alone() -> None:
    ids = token_rows(8)
    one, same, other = (mask_tokens(jax.random.key(k), ids, SPECIAL, 0.15) for k in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one.input_ids, other.input_ids)


def test_a_row_without_tokens_has_no_predictions() -> None:
    batch = mask_tokens(jax.random.key(0), np.zeros((2, 22), np.int32), SPECIAL, 0.15)
    assert float(batch.weights.sum()) == 0.0
    assert not np.asarray(batch.input_ids).any()


def test_learning_rate() -> None:
    config = OptimizerConfig(learning_rate=2.0, warmup_fraction=0.25, end_factor=0.1)
    rates = [learning_rate(config, step, 8) for step in range(8)]
    decay = [2.0 * (1.0 - 0.9 * done / 6) for done in range(6)]
    assert rates == pytest.approx([1.0, 2.0, *decay])
    # Whole decay without warm-up, and nothing but warm-up.
    plain = OptimizerConfig(learning_rate=1.0, warmup_fraction=0.0, end_factor=0.0)
    assert [learning_rate(plain, step, 4) for step in range(4)] == pytest.approx([1.0, 0.75, 0.5, 0.25])
    rising = OptimizerConfig(learning_rate=1.0, warmup_fraction=1.0)
    assert [learning_rate(rising, step, 4) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


PARAMS = {"dense": {"kernel": jnp.arange(6.0).reshape(2, 3) + 1.0, "bias": jnp.ones(3)}, "norm": {"scale": jnp.ones(3)}}


def gradients(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape), jnp.float32), PARAMS)


def test_adamw_is_optax_adamw() -> None:
    config = OptimizerConfig(clip_norm=0.5, weight_decay=0.1, beta1=0.8, beta2=0.9)
    decayed = {"dense": {"kernel": True, "bias": False}, "norm": {"scale": False}}
    rate = 0.05
    expected = optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.adamw(rate, b1=0.8, b2=0.9, eps=config.epsilon, weight_decay=0.1, mask=decayed),
    )
    optimizer = make_optimizer(config)
    ours, theirs = PARAMS, PARAMS
    states = [optimizer.init(ours), expected.init(theirs)]
    for step in range(3):
        update, states[0] = optimizer.update(gradients(step), states[0], ours)
        ours = jax.tree.map(lambda p, u: p - rate * u, ours, update)
        update, states[1] = expected.update(gradients(step), states[1], theirs)
        theirs = optax.apply_updates(theirs, update)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_lamb_is_optax_lamb() -> None:
    """On arrays with and without decay, of zeros too, below and above the limit of the gradients' norm."""
    config = OptimizerConfig(name="lamb", clip_norm=2.0, weight_decay=0.1)
    params = PARAMS | {"other": {"kernel": jnp.zeros((2, 2))}}
    decayed = jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)
    expected = optax.chain(
        optax.clip_by_global_norm(2.0),
        optax.scale_by_adam(config.beta1, config.beta2, config.epsilon),
        optax.add_decayed_weights(0.1, decayed),
        optax.masked(optax.scale_by_trust_ratio(), decayed),
    )
    optimizer = make_optimizer(config)
    states = [optimizer.init(params), expected.init(params)]
    for step, factor in enumerate((0.1, 1.0, 0.0, 10.0)):
        given = jax.tree.map(lambda g, f=factor: f * g, gradients(step) | {"other": {"kernel": jnp.eye(2)}})
        ours, states[0] = optimizer.update(given, states[0], params)
        theirs, states[1] = expected.update(given, states[1], params)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
        params = jax.tree.map(lambda p, u: p - 0.1 * u, params, ours)


def test_biases_and_norms_do_not_decay() -> None:
    optimizer = make_optimizer(OptimizerConfig(weight_decay=0.1))
    update, _ = optimizer.update(jax.tree.map(jnp.zeros_like, PARAMS), optimizer.init(PARAMS), PARAMS)
    np.testing.assert_allclose(update["dense"]["kernel"], 0.1 * PARAMS["dense"]["kernel"], rtol=1e-6)
    assert not update["dense"]["bias"].any()
    assert not update["norm"]["scale"].any()


def test_lamb_scales_weights_by_their_norm() -> None:
    config = OptimizerConfig(name="lamb", weight_decay=0.0)
    adam, lamb = (make_optimizer(c) for c in (OptimizerConfig(weight_decay=0.0), config))
    (plain, _), (scaled, _) = (d.update(gradients(0), d.init(PARAMS), PARAMS) for d in (adam, lamb))
    weights, update = PARAMS["dense"]["kernel"], scaled["dense"]["kernel"]
    assert float(jnp.linalg.norm(update)) == pytest.approx(float(jnp.linalg.norm(weights)), rel=1e-5)
    np.testing.assert_allclose(scaled["dense"]["bias"], plain["dense"]["bias"])


def test_initial_values() -> None:
    params = init_params(TINY, seed=0)
    encoder = params["encoder"]
    words = np.asarray(encoder["embeddings"]["word_embeddings"])
    assert words.dtype == np.float32
    # A normal distribution cut at two standard deviations has a deviation of 0.88 of the uncut one.
    assert np.abs(words).max() <= 2 * TINY.initializer_range
    assert words.std() == pytest.approx(0.8796 * TINY.initializer_range, rel=0.05)
    norm = encoder["embeddings"]["norm"]
    assert (np.asarray(norm["scale"]) == 1).all()
    assert not np.asarray(norm["bias"]).any()
    # Layers differ, seeds differ, equal seeds do not.
    again, other = init_params(TINY, seed=0), init_params(TINY, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(again), strict=True))
    assert not np.array_equal(words, other["encoder"]["embeddings"]["word_embeddings"])


def test_models_with_one_encoder_start_alike() -> None:
    with_head = init_tree(SequenceModel(TINY, 3), TINY, 0, num_inputs=3)
    pretraining = init_tree(MaskedLM(TINY), TINY, 0, num_inputs=4)
    for a, b in zip(jax.tree.leaves(with_head["encoder"]), jax.tree.leaves(pretraining["encoder"]), strict=True):
        assert np.array_equal(a, b)
    # A next-sentence head is named as in the model that has it alone, and changes nothing else.
    encoder = dataclasses.replace(TINY, pooler="tanh")
    alone = init_tree(SequenceModel(encoder, 2, head="next_sentence"), encoder, 0, num_inputs=3)
    both = init_params(encoder, 0, next_sentence=True)
    assert set(both) == {"encoder", "masked_lm", "next_sentence", "pooler"}
    same = jax.tree.map(np.array_equal, both, alone | {"masked_lm": pretraining["masked_lm"]})
    assert jax.tree.all(same)


def squares(params: Any, batch: Any, settings: dict[str, Any]) -> tuple[jax.Array, dict[str, jax.Array]]:
    return jnp.square(params["w"] - batch).sum() * settings.get("factor", 1.0), {}


OPTIMIZER = make_optimizer(OptimizerConfig(weight_decay=0.0))
STEP = make_train_step(squares, OPTIMIZER)


def fresh_state() -> Any:
    return init_state({"w": jnp.arange(4.0)}, OPTIMIZER)


def inputs(number: int) -> tuple[Any, Any, dict[str, Any]]:
    return np.full(4, np.sin(number), np.float32), np.float32(0.1), {}


def run(directory: Path | None, total: int = 20, *, stop_at: int | None = None, lines: list[str] | None = None) -> Any:
    """Fits; with `stop_at` the process "dies" when that step asks for its batch."""

    def interrupted(number: int) -> tuple[Any, Any, dict[str, Any]]:
        if number == stop_at:
            raise KeyboardInterrupt
        return inputs(number)

    progress = lines.append if lines is not None else lambda line: None
    job = TrainingJob("run", directory, trainer=TrainerConfig(log_every=5), progress=progress)
    return fit(fresh_state(), Steps(STEP, interrupted, total), job, checkpoint_every=4)


def test_a_rate_for_each_parameter() -> None:
    state, _ = STEP(fresh_state(), np.zeros(4, np.float32), {"w": np.array([0.0, 1.0, 0.0, 1.0], np.float32)}, {})
    moved = np.asarray(state.params["w"]) != np.arange(4.0)
    assert moved.tolist() == [False, True, False, True]


@pytest.mark.parametrize("stop_at", [2, 4, 11, 19])
def test_an_interrupted_fit_ends_with_the_same_bits(tmp_path: Path, stop_at: int) -> None:
    whole, _ = run(None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop_at=stop_at)
    lines: list[str] = []
    state, report = run(tmp_path, lines=lines)
    kept = stop_at // 4 * 4
    assert report.steps == 20 - kept
    assert (lines[0] == f"run: continued from step {kept} of 20") == (kept > 0)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(whole), strict=True):
        assert np.array_equal(a, b)
    assert len(checkpoints.steps(tmp_path / "checkpoints")) <= 2


def test_checkpoints_replace_and_refuse(tmp_path: Path) -> None:
    tree = {"w": np.arange(3.0, dtype=np.float32)}
    checkpoints.save(tmp_path / "a", tree)
    checkpoints.save(tmp_path / "a", {"w": tree["w"] + 1})
    assert np.array_equal(checkpoints.restore(tmp_path / "a", tree)["w"], tree["w"] + 1)
    with pytest.raises(ValueError, match="shape"):
        checkpoints.restore(tmp_path / "a", {"w": np.zeros(5, np.float32)})
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        checkpoints.restore(tmp_path / "b", tree)


def test_a_diverged_run_names_its_step(tmp_path: Path) -> None:
    def diverging(number: int) -> tuple[Any, Any, dict[str, Any]]:
        batch, rate, _ = inputs(number)
        return batch * (np.nan if number >= 7 else 1.0), rate, {}

    with pytest.raises(
        DivergedError, match=r"student: loss is nan, gradient_norm is nan at step 8 of 20, on batch 7; there is no"
    ):
        fit(fresh_state(), Steps(STEP, diverging, 20), TrainingJob("student", trainer=TrainerConfig(log_every=5)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    config = PretrainConfig(
        steps=30, batch_size=16, optimizer=OptimizerConfig(learning_rate=0.01), checkpoint_every=1000
    )
    rows = token_arrays(np.where(token_rows(64) > 4, 7, token_rows(64)))
    return pretrain(TINY, config, rows, SPECIAL, TrainingJob("teacher", tmp_path_factory.mktemp("teacher")))


def test_pretraining_learns_a_constant_text(trained: tuple[Any, Any]) -> None:
    params, report = trained
    assert report.steps == 30
    rows = token_arrays(np.where(token_rows(20, seed=1) > 4, 7, token_rows(20, seed=1)))
    scores = evaluate_masked_lm(TINY, params, rows, SPECIAL, 0.15, batch_size=16)
    assert scores["accuracy"] > 99.0
    assert 0.0 <= scores["accuracy_stderr"] < 5.0


def test_evaluation_is_deterministic(trained: tuple[Any, Any]) -> None:
    params, _ = trained
    rows = token_arrays(token_rows(20))
    one, two = (evaluate_masked_lm(TINY, params, rows, SPECIAL, 0.15, batch_size=16) for _ in range(2))
    assert one == two
    # The last batch is filled up with padding, which is not predicted.
    wanted = sum(
        float(mask_tokens(jax.random.key(0), row[None], SPECIAL, 0.15).weights.sum()) for row in token_rows(20)
    )
    assert one["predictions"] == wanted


def test_token_types_reach_the_model() -> None:
    ids = token_rows(16)
    params = init_params(TINY, 0)
    # Types that are all 0 are what rows without types get.
    losses = []
    for features in ({}, {"token_type_ids": np.zeros_like(ids)}, {"token_type_ids": np.ones_like(ids)}):
        rows = TokenArrays(Path(), {"input_ids": ids, **features}, {"rows": len(ids)})
        losses.append(evaluate_masked_lm(TINY, params, rows, SPECIAL, 0.15, batch_size=16)["loss"])
    assert losses[0] == losses[1] != losses[2]


def test_token_types_are_taken_with_their_rows() -> None:
    ids = np.arange(60).reshape(20, 3)
    rows = TokenArrays(Path(), {"input_ids": ids, "token_type_ids": (ids % 2).astype(np.uint8)}, {"rows": 20})
    taken, types, _ = take_rows(rows, 7, 4, seed=3)
    assert types is not None and np.array_equal(types, taken % 2)
    assert take_rows(token_arrays(ids), 7, 4, seed=3).token_type_ids is None


def pairs_of_rows(count: int, seed: int = 0) -> TokenArrays:
    """`[CLS] a [SEP] b [SEP]` rows in which b repeats the one token of a, or (label 1) is a token that no a has.

    Not one of another a: to learn that two of two tokens differ is to learn XOR, which not every start does in time.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    first = rng.integers(5, 7, count)
    second = first + 2 * labels
    ids = np.concatenate([np.tile(first[:, None], 6), np.tile(second[:, None], 6)], axis=1)
    ids[:, 0], ids[:, 5], ids[:, 11] = SPECIAL.cls_id, SPECIAL.sep_id, SPECIAL.sep_id
    types = np.tile(np.arange(12) > 5, (count, 1)).astype(np.uint8)
    features = {"input_ids": ids, "token_type_ids": types, "next_sentence_label": labels.astype(np.uint8)}
    return TokenArrays(Path(), features, {"rows": count})


def test_labels_of_pairs_go_with_their_rows() -> None:
    rows = pairs_of_rows(40)
    ids, types, labels = take_rows(rows, 16, 1, seed=3)
    assert labels is not None and labels.dtype == np.int32
    assert np.array_equal(labels, ids[:, 1] != ids[:, 10])
    assert take_rows(token_arrays(ids), 16, 1, seed=3).next_sentence_labels is None
    with_labels = mask_tokens(jax.random.key(0), ids, SPECIAL, 0.15, types, labels)
    without = mask_tokens(jax.random.key(0), ids, SPECIAL, 0.15, types)
    assert with_labels.next_sentence_labels is not None and np.array_equal(with_labels.next_sentence_labels, labels)
    assert without.next_sentence_labels is None
    assert np.array_equal(with_labels.input_ids, without.input_ids)


def test_pretraining_learns_next_sentence(tmp_path: Path) -> None:
    # Larger values at the start: from TINY's own a few starts in a hundred have not left theirs after so many steps.
    encoder = dataclasses.replace(TINY, pooler="tanh", initializer_range=0.1)
    optimizer = OptimizerConfig(learning_rate=0.02, weight_decay=0.0)
    config = PretrainConfig(steps=150, batch_size=32, optimizer=optimizer, checkpoint_every=1000)
    params, report = pretrain(encoder, config, pairs_of_rows(256), SPECIAL, TrainingJob("teacher", tmp_path))
    assert report.last["next_sentence"] < report.last["loss"]
    # 37 rows in batches of 16: the last one holds fillers, which must not count.
    held_out = pairs_of_rows(37, seed=1)
    start = init_params(encoder, 0, next_sentence=True)
    scores, untrained = (
        evaluate_masked_lm(encoder, tree, held_out, SPECIAL, 0.15, batch_size=16) for tree in (params, start)
    )
    assert untrained["next_sentence_accuracy"] < 75.0 and scores["next_sentence_accuracy"] > 90.0
    # What the scores should be, row by row, from the model whose one head this is, on the same masks.
    alone, right = jax.jit(SequenceModel(encoder, 2, head="next_sentence").apply), np.zeros(2, int)
    key = row_key(held_out)
    for first in range(0, 37, 16):
        ids, types, labels = (np.asarray(held_out.features[name][first : first + 16]) for name in held_out.features)
        ids, types = (np.pad(x, ((0, 16 - len(x)), (0, 0))) for x in (ids, types))
        masked = mask_rows(key, np.arange(first, first + 16, dtype=np.uint32), ids, SPECIAL, 0.15).input_ids
        for which, tree in enumerate((params, start)):
            logits = alone({"params": tree}, masked, np.ones_like(masked), types)
            right[which] += int((np.asarray(logits)[: len(labels)].argmax(axis=1) == labels).sum())
    found = [scores["next_sentence_accuracy"], untrained["next_sentence_accuracy"]]
    assert found == pytest.approx(100.0 * right / 37)
    # The head goes with the parameters, on the disk as well; rows or models without pairs have no such score.
    checkpoints.save(tmp_path / "params", params)
    loaded = load_params(tmp_path / "params", encoder)
    assert set(loaded) == {"encoder", "masked_lm", "next_sentence", "pooler"}
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded, params))
    without = {name: params[name] for name in ("encoder", "masked_lm")}
    checkpoints.save(tmp_path / "params", without)
    assert set(load_params(tmp_path / "params", encoder)) == set(without)
    assert "next_sentence_accuracy" not in evaluate_masked_lm(encoder, without, held_out, SPECIAL, 0.15, batch_size=16)
