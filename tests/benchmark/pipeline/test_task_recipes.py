"""Recipes of tasks in the stage that fine-tunes: the choice of a learning rate, starts from MNLI, diverged seeds."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmark.config import FinetuneConfig, OptimizerConfig, TaskRecipeConfig
from benchmark.pipeline import finetune as finetuning
from benchmark.pipeline import record_recipe, record_scores
from benchmark.pipeline.rate_choice import best_rate, chosen_settings
from benchmark.pipeline.run_context import Run, SystemPlan
from benchmark.pipeline.start_task import Starts
from benchmark.training import finetune
from tests.helpers.board_records import make_task
from tests.helpers.mnli_run import MNLI, TRAIN_ROWS, make_run, write_rows

RTE, SST2, MRPC = "glue_rte_v1", "glue_sst2_v1", "glue_mrpc_v1"
ROWS, SEEDS, RATES = 96, (3, 4), (1e-8, 0.01, 0.02)
FROM_MNLI = TaskRecipeConfig(task=RTE, epochs=8.0, learning_rates=RATES, start_task=MNLI)
SETTINGS = FinetuneConfig(
    seeds=SEEDS,
    epochs=(4.0,),
    batch_size=16,
    optimizer=OptimizerConfig(learning_rate=0.01),
    recipes=(
        FROM_MNLI,
        TaskRecipeConfig(task=SST2, max_steps=4, learning_rates=(1e30,)),
        TaskRecipeConfig(task=MRPC, learning_rates=(0.0,)),
    ),
)


class Finished(NamedTuple):
    """A run after its fine-tuning; what it trained, as (task, seed, rate, rows), and what it said."""

    run: Run
    system: SystemPlan
    calls: list[tuple[str, int, float, int]]
    lines: list[str]
    first_calls: tuple[tuple[str, int, float, int], ...] = ()
    first_lines: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return self.run.workdir / "evaluation" / "toy"

    def marker(self, task: str, name: str) -> dict[str, Any]:
        return dict(json.loads((self.folder / task / f"{name}.json").read_text()))

    def work(self) -> dict[str, Any]:
        """Calls the stage again."""
        self.calls.clear()
        self.lines.clear()
        return finetuning.finetuned_system(self.run, self.system)


def write_tasks(workdir: Path, *, dev: bool = True, flipped: bool = False) -> None:
    """Adds tasks of two labels; without `dev` there is nothing to evaluate on, with `flipped` its labels are wrong."""
    path = workdir / "data" / "data.json"
    index = json.loads(path.read_text())
    for number, task in enumerate((RTE, SST2, MRPC)):
        arrays = workdir / "data" / task
        shutil.rmtree(arrays, ignore_errors=True)
        shutil.rmtree(f"{arrays}-train", ignore_errors=True)
        index["tasks"][task] = {"train": write_rows(Path(f"{arrays}-train"), ROWS, True, 10 + number, labels=2)}
        if dev:
            index["tasks"][task]["validation"] = write_rows(arrays, 40, True, 20 + number, labels=2)
        if flipped:
            np.save(arrays / "label.npy", 1 - np.load(arrays / "label.npy"))
    path.write_text(json.dumps(index))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    workdir = tmp_path_factory.mktemp("recipes")
    made, system = make_run(workdir, "test")
    write_tasks(workdir)
    data = dataclasses.replace(made.config.data, tasks=(RTE, SST2, MRPC, MNLI))
    config = dataclasses.replace(made.config, data=data, finetune=SETTINGS)
    calls: list[tuple[str, int, float, int]] = []
    lines: list[str] = []
    real = finetune.finetune

    def noted(encoder: Any, start: Any, data: Any, settings: Any, epochs: float, job: Any) -> Any:
        calls.append((data.task.name, job.seed, settings.optimizer.learning_rate, data.rows.num_rows))
        return real(encoder, start, data, settings, epochs, job)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "finetune", noted)
        done = Finished(Run(config, workdir, lines.append), dataclasses.replace(system, kind="baseline"), calls, lines)
        done.work()
        yield done._replace(first_calls=tuple(calls), first_lines=tuple(lines))


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> Finished:
    """The same in a folder of its own, to damage."""
    shutil.copytree(finished.run.workdir, tmp_path, dirs_exist_ok=True)
    system = dataclasses.replace(finished.system, directory=tmp_path / "students" / "toy")
    return finished._replace(run=Run(finished.run.config, tmp_path, finished.lines.append), system=system)


# The order of work, and what is kept.


def test_what_others_start_from_comes_first_and_rates_before_seeds(finished: Finished) -> None:
    choice = finished.marker(RTE, "learning_rate")["result"]
    best = choice["learning_rate"]
    # MNLI's model tells its labels apart before it is trained on them; of equal rates the smallest is taken.
    assert choice["scores"] == [100.0] * 3 and best == RATES[0]
    assert finished.first_calls == (
        *((MNLI, seed, 0.01, TRAIN_ROWS) for seed in SEEDS),
        # A tenth of each label is held out.
        *((RTE, SEEDS[0], rate, ROWS - 10) for rate in RATES),
        *((RTE, seed, best, ROWS) for seed in SEEDS),
        *((SST2, seed, 1e30, ROWS) for seed in SEEDS),
        *((MRPC, seed, 0.0, ROWS) for seed in SEEDS),
    )
    assert finished.work()["reused"]
    assert not finished.calls and finished.lines == ["finetune toy: reused"]
    assert not list(finished.folder.glob("*/start-seed*"))


def test_a_killed_choice_tries_only_what_is_missing(copied: Finished) -> None:
    before = copied.marker(RTE, "learning_rate")["result"]
    (copied.folder / RTE / "rate-0.02.json").unlink()
    copied.work()
    # MNLI's parameters, from which it starts, are no longer there.
    assert copied.calls == [(MNLI, 3, 0.01, TRAIN_ROWS), (RTE, 3, 0.02, ROWS - 10)]
    assert copied.marker(RTE, "learning_rate")["result"] == before


def test_a_killed_run_keeps_the_parameters_that_others_start_from(
    copied: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = copied.marker(RTE, "seed4")["result"]
    (copied.folder / RTE / "seed4.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(finetuning, "predict", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            copied.work()
    assert copied.calls == [(MNLI, 4, 0.01, TRAIN_ROWS), (RTE, 4, before_rate(copied), ROWS)]
    copied.work()
    assert copied.calls == [(RTE, 4, before_rate(copied), ROWS)]
    assert copied.marker(RTE, "seed4")["result"] == before
    assert not list(copied.folder.glob("*/start-seed*"))


def before_rate(finished: Finished) -> float:
    return float(finished.marker(RTE, "learning_rate")["result"]["learning_rate"])


def test_it_starts_from_the_parameters_of_the_same_seed(copied: Finished) -> None:
    results = {seed: copied.marker(RTE, f"seed{seed}")["result"] for seed in SEEDS}
    rate = before_rate(copied)
    plain = dataclasses.replace(FROM_MNLI, start_task="", learning_rates=(rate,))
    config = dataclasses.replace(
        copied.run.config,
        data=dataclasses.replace(copied.run.config.data, tasks=(RTE,)),
        finetune=dataclasses.replace(SETTINGS, recipes=(plain,)),
    )
    own = copied._replace(run=Run(config, copied.run.workdir))
    own.work()
    # At this rate nothing is learned: the parameters are those of the start.
    for seed in SEEDS:
        loss, started = (
            result["training"]["loss"] for result in (own.marker(RTE, f"seed{seed}")["result"], results[seed])
        )
        assert loss > 0.5 and started < 0.1


# The choice.


def test_the_choice_does_not_depend_on_the_validation_split(copied: Finished) -> None:
    recipes = (dataclasses.replace(FROM_MNLI, start_task=""),)
    run = Run(
        dataclasses.replace(copied.run.config, finetune=dataclasses.replace(SETTINGS, recipes=recipes)),
        copied.run.workdir,
    )
    found = []
    for changes in ({"flipped": True}, {"dev": False}):
        shutil.rmtree(copied.folder)
        write_tasks(copied.run.workdir, **changes)
        run = Run(run.config, run.workdir)
        settings, markers = chosen_settings(run, copied.system, Starts(run, copied.system), RTE)
        found.append((settings, [(marker["fingerprint"], marker["result"]) for marker in markers]))
    assert found[0] == found[1]
    # What is fine-tuned with it is what a run without a choice fine-tunes.
    rate = found[0][0].optimizer.learning_rate
    scores = dict(zip(RATES, found[0][1][-1][1]["scores"], strict=True))
    assert rate in RATES[1:] and scores[rate] > scores[RATES[0]]
    only = dataclasses.replace(SETTINGS, recipes=(dataclasses.replace(recipes[0], learning_rates=(rate,)),))
    assert found[0][0] == only.for_task(RTE, 0)


def test_of_equal_rates_the_smallest_is_chosen() -> None:
    assert best_rate({3e-5: 70.0, 2e-5: 80.0, 5e-5: 80.0}) == 2e-5


# Seeds that diverge.


def test_diverged_seeds_are_predicted_scored_and_named(finished: Finished) -> None:
    labels = finished.run.rows("tasks", SST2, "train").features["label"]
    majority = int(np.bincount(labels).argmax())
    for seed in SEEDS:
        result = finished.marker(SST2, f"seed{seed}")["result"]
        assert result["training"]["diverged"] == "not_finite" and result["training"]["loss"] is None
        assert set(result["predictions"]) == {majority} and result["scores"]["accuracy"] > 0.0
        assert finished.marker(MRPC, f"seed{seed}")["result"]["training"]["diverged"] == "not_learned"
        assert finished.marker(MNLI, f"seed{seed}")["result"]["training"]["diverged"] == ""
    told = [line for line in finished.first_lines if "not finite" in line or "is nan" in line or "is inf" in line]
    assert len(told) == 2 and all("counts as diverged" in line for line in told)
    last = finished.first_lines[-1]
    assert f"{SST2} " in last and last.count("(diverged)") == 4 and "real tokens/s" in last


# Records.


def test_a_record_has_recipe_choice_start_and_diverged_seeds(finished: Finished) -> None:
    def scored(task: str) -> Any:
        return record_scores.task_score(finished.run, finished.system, task)[0]

    rte = scored(RTE)
    assert rte.recipe.model_dump() | {"choice": None} == {
        **{"epochs": 8.0, "max_steps": 0, "batch_size": 16, "learning_rate": before_rate(finished)},
        **{"start": MNLI, "choice": None},
    }
    choice = rte.recipe.choice
    assert (choice.learning_rates, choice.metric, choice.num_examples) == (list(RATES), "accuracy", 10)
    assert (choice.fraction, choice.seed, rte.diverged) == (0.1, 3, [])
    assert choice.scores[RATES.index(rte.recipe.learning_rate)] == max(choice.scores)
    sst2 = scored(SST2)
    assert [(each.seed, each.reason) for each in sst2.diverged] == [(3, "not_finite"), (4, "not_finite")]
    assert (sst2.recipe.max_steps, sst2.recipe.start, sst2.recipe.choice) == (4, None, None)
    assert len(sst2.metrics["accuracy"].per_seed) == 2
    paces = record_recipe.timing(finished.run, finished.system)
    assert set(paces) == {f"finetune_tokens_per_second.{task}" for task in (RTE, MRPC, MNLI)}


def test_an_average_over_started_tasks_has_another_name() -> None:
    def score(task: str, metrics: tuple[str, ...], start: str | None = None) -> Any:
        values = {metric: {"value": 50.0, "per_seed": [50.0]} for metric in metrics}
        recipe = {"epochs": 1.0, "batch_size": 1, "learning_rate": 0.1, "start": start}
        one = make_task(50.0, f"glue_{task}_v1")
        return type(one).model_validate(
            one.model_dump() | {"metrics": values, "primary_metric": metrics[0], "recipe": recipe}
        )

    scores = [score(task, ("accuracy",)) for task in ("sst2", "qnli", "mnli_matched", "mnli_mismatched")]
    scores += [score("cola", ("matthews",)), score("stsb", ("spearman", "pearson"))]
    scores += [score(task, ("f1", "accuracy")) for task in ("qqp", "mrpc")]
    plain = record_recipe.averages([*scores, score("rte", ("accuracy",))])
    assert plain == dict.fromkeys(("col9", "task8_m", "t5_8"), 50.0)
    started = record_recipe.averages([*scores, score("rte", ("accuracy",), "glue_mnli_matched_v1")])
    assert started == dict.fromkeys(("col9_started", "task8_m_started", "t5_8_started"), 50.0)
