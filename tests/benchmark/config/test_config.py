"""The configuration tree: types, limits, fingerprints."""

import dataclasses
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.config import (
    STAGES,
    BaselineConfig,
    ChipConfig,
    ConfigError,
    DataConfig,
    DistillConfig,
    EncoderConfig,
    FinetuneConfig,
    LatencyConfig,
    OptimizerConfig,
    PhaseConfig,
    PretrainConfig,
    RunConfig,
    SearchConfig,
    SearchSpace,
    TeacherConfig,
    TrainerConfig,
    canonical_json,
    encoder_from_dict,
    fingerprint,
    to_dict,
)
from benchmark.config.checks import LARGEST_SEED


def phase(**changes: Any) -> PhaseConfig:
    values: dict[str, Any] = {
        "name": "distillation",
        "steps": 10,
        "optimizer": OptimizerConfig(),
        "weights": {"masked_lm": 1.0},
    }
    return PhaseConfig(**(values | changes))


def run_config(**changes: Any) -> RunConfig:
    optimizer, encoder = OptimizerConfig(), EncoderConfig()
    values: dict[str, Any] = {
        "track": "test",
        "data": DataConfig(),
        "teacher": TeacherConfig(encoder=encoder, pretrain=PretrainConfig(optimizer=optimizer)),
        "search": SearchConfig(space=SearchSpace(base=encoder), chip=ChipConfig()),
        "distill": DistillConfig(phases=(phase(steps=1),)),
        "finetune": FinetuneConfig(optimizer=optimizer),
        "latency": LatencyConfig(reference=encoder),
    }
    return RunConfig(**(values | changes))


@pytest.mark.parametrize(
    ("cls", "field", "value", "accepted"),
    [
        (EncoderConfig, "hidden_size", "four", "int >= 1"),
        (EncoderConfig, "hidden_size", 1.5, "int >= 1"),
        (EncoderConfig, "hidden_size", True, "int >= 1"),
        (EncoderConfig, "hidden_size", None, "int >= 1"),
        (EncoderConfig, "hidden_size", 0, "int >= 1"),
        (EncoderConfig, "trigram_input", 1, "bool"),
        (EncoderConfig, "hidden_act", "swish", "str in {relu, gelu, gelu_new}"),
        (EncoderConfig, "intra_bottleneck_size", "x", "int or None >= 1"),
        (EncoderConfig, "layer_norm_eps", float("nan"), "float >= 0.0"),
        (OptimizerConfig, "learning_rate", float("inf"), "float >= 0.0"),
        (OptimizerConfig, "warmup_fraction", 1.5, "float >= 0.0 <= 1.0"),
        (DataConfig, "tasks", "glue_sst2_v1", "a sequence of str values"),
        (DataConfig, "tasks", (), "at least one task name"),
        (DataConfig, "pretrain_rates", (1.0, 2.0), "one rate for each"),
        (DataConfig, "source", "files", None),
        (SearchSpace, "hidden_size", (256, 128), None),
    ],
)
def test_bad_value_is_refused_by_name(cls: type, field: str, value: Any, accepted: str | None) -> None:
    required = {"base": EncoderConfig()} if cls is SearchSpace else {}
    with pytest.raises(ConfigError) as caught:
        cls(**required, **{field: value})
    assert "\n" not in str(caught.value)
    assert caught.value.selector.startswith(f"{cls.__name__}.")
    if accepted is not None:
        assert caught.value.selector == f"{cls.__name__}.{field}"
        assert accepted in caught.value.accepted


def test_only_int_to_float_and_list_to_tuple_convert() -> None:
    assert isinstance(OptimizerConfig(learning_rate=1).learning_rate, float)
    optimizer = OptimizerConfig()
    assert FinetuneConfig(seeds=[3, 4], optimizer=optimizer).seeds == (3, 4)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        FinetuneConfig(seeds=[3, "4"], optimizer=optimizer)  # type: ignore[arg-type]


def test_nested_parts_are_checked_by_type() -> None:
    with pytest.raises(ConfigError, match=r"RunConfig\.teacher"):
        run_config(teacher=EncoderConfig())


def test_numerics_are_portable_unless_asked_otherwise_and_part_of_the_fingerprint() -> None:
    run = run_config()
    assert (run.numerics, run.reduction_threads) == ("portable", 2)
    others = [run_config(numerics="native"), run_config(reduction_threads=3)]
    assert len({fingerprint(r) for r in [run, *others]}) == 3
    for refused in ({"numerics": "fast"}, {"reduction_threads": 0}, {"reduction_threads": 65}):
        with pytest.raises(ConfigError, match=rf"RunConfig\.{next(iter(refused))}"):
            run_config(**refused)


def test_checks_between_parts() -> None:
    with pytest.raises(ConfigError, match="divisor"):
        EncoderConfig(num_attention_heads=3)
    with pytest.raises(ConfigError, match=r"DataConfig\.task_length = 1000"):
        run_config(data=DataConfig(task_length=1000))
    twice = (BaselineConfig(name="a", title="A", encoder=EncoderConfig()),) * 2
    with pytest.raises(ConfigError, match="distinct names"):
        run_config(baselines=twice)


def test_values_are_frozen_hashable_and_pickle() -> None:
    config = run_config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]
    assert hash(config) == hash(run_config())
    assert pickle.loads(pickle.dumps(config)) == config


@given(
    seed=st.integers(0, LARGEST_SEED - 1), rate=st.floats(0, 1), name=st.text("ab09_.-", max_size=20).map("a".__add__)
)
def test_fingerprint_depends_on_values_only(seed: int, rate: float, name: str) -> None:
    optimizer = OptimizerConfig(learning_rate=rate)
    one = run_config(track=name, seed=seed, finetune=FinetuneConfig(optimizer=optimizer))
    two = run_config(finetune=FinetuneConfig(optimizer=optimizer), seed=seed, track=name)
    assert fingerprint(one) == fingerprint(two)
    assert fingerprint(one) != fingerprint(dataclasses.replace(one, seed=seed + 1))
    assert json.loads(canonical_json(one)) == to_dict(one)


def test_fingerprint_leaves_out_what_changes_no_result() -> None:
    one = run_config()
    two = dataclasses.replace(one, finetune=dataclasses.replace(one.finetune, keep_parameters=True))
    three = dataclasses.replace(one, finetune=dataclasses.replace(one.finetune, write_nbest=True))
    assert fingerprint(one) == fingerprint(two) != fingerprint(three)
    # What a run was made with is kept in full.
    assert to_dict(two)["finetune"]["keep_parameters"] is True
    assert canonical_json(one) != canonical_json(two)


def test_fingerprint_ignores_the_order_of_keys_and_keeps_that_of_values() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(1, 2) != fingerprint(2, 1)
    assert fingerprint((1, 2)) == fingerprint([1, 2])


def test_fingerprint_of_a_value_never_changes() -> None:
    # Results of published runs are found by their fingerprint: a change here makes them strangers.
    expected = "05fd345fab61917f53d854ef40bd254efdcf1f0324240e6acdc2fda503688770"
    assert fingerprint({"a": [1, 2.5, None, True, "é"]}) == expected


def test_weights_are_one_value_whatever_their_order() -> None:
    one, two = phase(weights={"hidden": 1, "cosine": 2.5}), phase(weights={"cosine": 2.5, "hidden": 1})
    assert one == two and hash(one) == hash(two) and repr(one) == repr(two) and fingerprint(one) == fingerprint(two)
    assert one.weights == {"cosine": 2.5, "hidden": 1.0} and isinstance(one.weights["hidden"], float)
    assert json.loads(canonical_json(one))["weights"] == {"cosine": 2.5, "hidden": 1.0}
    # Terms are added in the order of the table.
    assert one.terms == ("hidden", "cosine")
    assert phase(weights={"masked_lm": 1.0, "hidden": 0.0}).terms == ("masked_lm",)
    assert fingerprint(one) != fingerprint(phase(weights={"cosine": 2.5, "hidden": 1.5}))
    given = {"hidden": 1.0}
    kept = phase(weights=given)
    given["hidden"] = 2.0
    assert kept.weights == {"hidden": 1.0}


def test_encoder_round_trip_and_unknown_field() -> None:
    encoder = EncoderConfig(hidden_size=256, intra_bottleneck_size=None, num_feedforward_networks=1)
    assert encoder_from_dict(json.loads(json.dumps(to_dict(encoder)))) == encoder
    with pytest.raises(ConfigError, match=r"EncoderConfig\.width = 3"):
        encoder_from_dict({"width": 3})


def test_a_flash_recipe_shortens_every_phase_and_keeps_at_least_one_step() -> None:
    phases = tuple(phase(name=str(steps), steps=steps) for steps in (100, 500, 0))
    recipe = DistillConfig(phases=phases)
    assert [p.steps for p in recipe.scaled(0.05).phases] == [5, 25, 0]
    assert [p.steps for p in recipe.scaled(0.0001).phases] == [1, 1, 0]
    # Nothing else changes.
    assert recipe.scaled(1.0) == recipe
    assert dataclasses.replace(recipe, phases=recipe.scaled(0.5).phases) == recipe.scaled(0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: phase(weights={"masked_lm": 0.0}),
            r"PhaseConfig\.weights = {'masked_lm': 0\.0}: expected a phase with a loss",
        ),
        (lambda: phase(per_layer=True), r"PhaseConfig\.per_layer = True: expected False .* compares layers"),
        (lambda: phase(per_layer=True, weights={"hidden": 1.0}, layers="last"), r"PhaseConfig\.layers = 'last'"),
        (lambda: phase(mask_input=False), r"PhaseConfig\.mask_input = False: expected True .* masked-LM loss"),
        (
            lambda: phase(frozen=("head",)),
            r"PhaseConfig\.frozen = .*head.* in {embeddings, position_embeddings, layers",
        ),
        (
            lambda: phase(weights={"hidden": -1.0}),
            r"PhaseConfig\.weights\['hidden'\] = -1\.0: expected a finite float >= 0\.0",
        ),
        (
            lambda: phase(weights={"hidden": float("nan")}),
            r"PhaseConfig\.weights\['hidden'\] = nan: expected a finite float >= 0\.0",
        ),
        (
            lambda: phase(weights={"hidden": True}),
            r"PhaseConfig\.weights\['hidden'\] = True: expected a finite float >= 0\.0",
        ),
        (lambda: phase(weights=("hidden", 1.0)), r"PhaseConfig\.weights = .*: expected a mapping from str in"),
        (lambda: phase(weights={}), r"PhaseConfig\.weights = {}: expected a phase with a loss: .*feature_map, "),
        (
            lambda: phase(weights={"hiden": 1.0}),
            r"PhaseConfig\.weights = {'hiden': 1\.0}: expected .*in {feature_map, .*} .*, without 'hiden'",
        ),
        (
            lambda: DistillConfig(phases=(phase(), phase())),
            r"PhaseConfig\.name = 'distillation': expected a different name",
        ),
        (lambda: DistillConfig(phases=()), r"DistillConfig\.phases = \(\): expected at least one phase with steps"),
        (lambda: DistillConfig(phases=(phase(steps=0),)), r"DistillConfig\.phases = .*: expected at least one phase"),
        (
            lambda: DistillConfig(
                phases=(phase(), phase(name="b", optimizer=OptimizerConfig(beta2=0.5))), one_program=True
            ),
            r"DistillConfig\.one_program = True: expected False where the optimizers",
        ),
    ],
)
def test_recipes_that_make_no_sense_are_refused_in_one_line(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_one_program_allows_other_schedules() -> None:
    slow = OptimizerConfig(learning_rate=1e-9, warmup_fraction=0.5, end_factor=1.0, decay_from="start")
    assert DistillConfig(phases=(phase(), phase(name="b", optimizer=slow)), one_program=True).one_program


def test_stages_are_those_of_the_contract() -> None:
    assert STAGES == ("data", "teacher", "search", "distill", "finetune", "latency", "record", "publish")


@pytest.mark.parametrize("name", ["", "A", "a b", "../up", ".a", "a/b", "a\n", "x" * 61])
def test_names_that_become_files_are_refused(name: str) -> None:
    for make in (
        lambda: run_config(track=name),
        lambda: BaselineConfig(name=name, title="A", encoder=EncoderConfig()),
    ):
        with pytest.raises(ConfigError, match=r"expected str matching \[a-z0-9\]"):
            make()


@pytest.mark.parametrize("name", ["a", "micro", "mobilebert-24x512_v1.0", "x" * 60])
def test_names_that_become_files_are_accepted(name: str) -> None:
    assert run_config(track=name).track == name


def test_the_untrained_control_names_its_twin() -> None:
    baseline = BaselineConfig(name="small", title="Small", encoder=EncoderConfig())
    for name in ("", "found", "small"):
        assert run_config(baselines=(baseline,), untrained_control=name).untrained_control == name
    with pytest.raises(ConfigError, match="untrained_control.*'found' or the name of a baseline: small"):
        run_config(baselines=(baseline,), untrained_control="smal")


def test_a_batch_must_divide_into_its_parts() -> None:
    run_config(trainer=TrainerConfig(gradient_accumulation_steps=16))
    with pytest.raises(
        ConfigError, match="gradient_accumulation_steps = 5: expected a divisor of every batch_size: 32"
    ):
        run_config(trainer=TrainerConfig(gradient_accumulation_steps=5))


def test_what_is_only_watched_changes_no_fingerprint() -> None:
    assert fingerprint(TrainerConfig(log_every=3, tensorboard=False)) == fingerprint(TrainerConfig())
    assert fingerprint(TrainerConfig(compute_dtype="bfloat16")) != fingerprint(TrainerConfig())
