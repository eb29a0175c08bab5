"""Recipes of tasks: what they replace, what they leave, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmark.cli.gin_loader import load_run_config
from benchmark.config import (
    ConfigError,
    FinetuneConfig,
    OptimizerConfig,
    TaskDistillConfig,
    TaskRecipeConfig,
    fingerprint,
    to_dict,
)
from benchmark.config.checks import result_settings
from benchmark.config.from_json import from_dict
from tasks.system.repository import REPOSITORY

RTE, MNLI = "glue_rte_v1", "glue_mnli_matched_v1"
COMMON = FinetuneConfig(epochs=(2.0, 5.0), optimizer=OptimizerConfig(learning_rate=1e-4))
TINY = [str(REPOSITORY / name) for name in ("tests/e2e/tiny.gin", "gin/finetune/bert.gin")]


def recipe(**changes: Any) -> TaskRecipeConfig:
    return TaskRecipeConfig(**{"task": RTE} | changes)


def test_a_recipe_replaces_what_it_gives_and_leaves_the_rest() -> None:
    own = recipe(epochs=9.0, batch_size=8, max_steps=7, learning_rates=(3e-5,))
    config = dataclasses.replace(COMMON, recipes=(own,))
    found = config.for_task(RTE, 1)
    assert (found.epochs, found.batch_size, found.max_steps) == ((9.0,), 8, 7)
    assert (found.optimizer.learning_rate, found.learning_rates, found.recipes) == (3e-5, (), ())
    # Another task has what it would have without recipes, and an empty recipe changes nothing.
    assert config.for_task(MNLI, 0) == COMMON.for_task(MNLI, 0)
    assert dataclasses.replace(COMMON, recipes=(recipe(),)).for_task(RTE, 1) == COMMON.for_task(RTE, 1)
    assert COMMON.for_task(RTE, 1) == dataclasses.replace(COMMON, epochs=(5.0,))


def test_rates_of_a_task_replace_those_of_all() -> None:
    config = dataclasses.replace(COMMON, learning_rates=(1e-5, 2e-5), recipes=(recipe(learning_rates=(3e-5, 4e-5)),))
    assert config.for_task(MNLI, 0).learning_rates == (1e-5, 2e-5)
    found = config.for_task(RTE, 0)
    assert found.learning_rates == (3e-5, 4e-5)
    # After the choice nothing is left of it: the share that was held out decides no result any more.
    other = dataclasses.replace(config, selection_fraction=0.3).for_task(RTE, 0)
    assert found != other and found.with_rate(4e-5) == other.with_rate(4e-5)


def test_settings_without_recipes_have_the_fingerprints_of_before() -> None:
    fields = result_settings(COMMON)
    assert not {"recipes", "learning_rates", "selection_fraction"} & fields.keys()
    assert "recipes" in to_dict(COMMON) and from_dict(FinetuneConfig, to_dict(COMMON)) == COMMON
    changed = dataclasses.replace(COMMON, recipes=(recipe(epochs=9.0),))
    assert fingerprint(changed) != fingerprint(COMMON)
    assert result_settings(changed)["recipes"][0]["epochs"] == 9.0
    assert from_dict(FinetuneConfig, to_dict(changed)) == changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipes": (recipe(), recipe())}, "TaskRecipeConfig.task = 'glue_rte_v1': expected one recipe for each task"),
        ({"learning_rates": (1e-5, 1e-5)}, "FinetuneConfig.learning_rates = .*: expected no learning rate twice"),
        (
            {"recipes": (recipe(start_task=MNLI), TaskRecipeConfig(task=MNLI, start_task="glue_qnli_v1"))},
            f"TaskRecipeConfig.start_task = '{MNLI}': expected a task that starts from no other one",
        ),
        ({"selection_fraction": 1.0}, "FinetuneConfig.selection_fraction = 1.0: expected float >= 0.001 <= 0.9"),
    ],
)
def test_recipes_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(COMMON, **changes)


def test_a_recipe_is_checked_by_itself() -> None:
    for changes, field in (({"start_task": RTE}, "start_task"), ({"learning_rates": (0.1, 0.1)}, "learning_rates")):
        with pytest.raises(ConfigError, match=f"TaskRecipeConfig.{field}"):
            recipe(**changes)


def test_students_of_a_teacher_start_from_nothing_else() -> None:
    from benchmark.config import TaskPhaseConfig

    phase = TaskPhaseConfig(name="p", optimizer=OptimizerConfig(), weights={"soft_cross_entropy": 1.0})
    with pytest.raises(ConfigError, match="start_task = .*expected '' with FinetuneConfig.distill"):
        dataclasses.replace(COMMON, distill=TaskDistillConfig(phases=(phase,)), recipes=(recipe(start_task=MNLI),))


def test_a_gin_file_names_recipes_of_tasks_that_the_run_may_lack() -> None:
    config = load_run_config(TINY)
    assert config.finetune.for_task("squad_v2_0_v1", 2).batch_size == 48
    assert len(config.finetune.for_task("glue_sst2_v1", 0).learning_rates) == 4
    alone = load_run_config(TINY, ["DataConfig.tasks = ('glue_sst2_v1',)"])
    assert alone.finetune == config.finetune
    evaluated = load_run_config([str(REPOSITORY / "gin" / "evaluate.gin"), TINY[1]])
    assert evaluated.finetune.epochs == (3.0,) and evaluated.finetune.group_by_length


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        (
            "squad_v2_0/TaskRecipeConfig.task = 'squad_v2_v1'",
            "squad_v2_v1.*a name of the task catalogue .*squad_v2_0_v1",
        ),
        ("squad_v2_0/TaskRecipeConfig.task = 'glue_ax_v1'", f"expected a task with training data, as '{MNLI}'"),
        (f"squad_v2_0/TaskRecipeConfig.start_task = '{MNLI}'", "start_task.*'' or a task of the run: glue_sst2_v1, "),
        ("squad_v2_0/TaskRecipeConfig.batch_size = 0", "batch_size = 0.*expected int >= 1 or None|int or None >= 1"),
        ("TrainerConfig.gradient_accumulation_steps = 32", "a divisor of every batch_size: .*48"),
    ],
)
def test_recipes_that_a_run_cannot_use_are_refused_in_one_line(binding: str, message: str) -> None:
    bindings = [binding, *(["RunConfig.trainer = @TrainerConfig()"] if "Trainer" in binding else [])]
    with pytest.raises(ValueError, match=message) as caught:
        load_run_config(TINY, bindings)
    assert "\n" not in str(caught.value)
