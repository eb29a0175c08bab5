"""Settings that add to a run, and settings that would make another one of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli.gin_loader import load_run_config
from benchmark.config import RunConfig, TaskRecipeConfig, to_dict
from benchmark.config.checks import result_settings
from benchmark.dry_run.done import read_done
from benchmark.pipeline import finetune as finetuning
from benchmark.pipeline.growth import grows
from benchmark.pipeline.run_context import Run
from benchmark.pipeline.workdir import RunError, write_json, write_run_identity
from benchmark.search.journal import Journal
from tasks.system.repository import REPOSITORY
from tests.helpers.mnli_run import AX, MISMATCHED, MNLI, make_run

QUICKSTART = str(REPOSITORY / "gin" / "quickstart.gin")


def _config(*overrides: str) -> RunConfig:
    return load_run_config([QUICKSTART], list(overrides))


def _settings(config: RunConfig) -> Any:
    return json.loads(json.dumps(to_dict(result_settings(config))))


BASE = _config()
FEWER = dataclasses.replace(BASE, baselines=BASE.baselines[:1], untrained_control="")
SEEDS = BASE.finetune.seeds


def _with_recipes(config: RunConfig, **epochs: float) -> RunConfig:
    """Gives tasks of GLUE recipes of their own."""
    recipes = tuple(TaskRecipeConfig(task=f"glue_{task}_v1", epochs=value) for task, value in epochs.items())
    return dataclasses.replace(config, finetune=dataclasses.replace(config.finetune, recipes=recipes))


MRPC = _config("DataConfig.tasks=('glue_mrpc_v1',)", "FinetuneConfig.epochs=(2.0,)")
MRPC_AND_RTE = _config("DataConfig.tasks=('glue_rte_v1', 'glue_mrpc_v1')", "FinetuneConfig.epochs=(2.0,)")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (BASE, BASE),
        (BASE, _config("SearchConfig.num_trials=16")),
        (BASE, _config("SearchConfig.num_found=2")),
        (BASE, _config(f"FinetuneConfig.seeds={(*SEEDS, 77)}")),
        (BASE, _config("DistillConfig.seeds=(0, 5)")),
        (FEWER, BASE),
        (_config("DataConfig.tasks=('glue_mrpc_v1',)", "FinetuneConfig.epochs=(2.0,)"),)
        + (_config("DataConfig.tasks=('glue_rte_v1', 'glue_mrpc_v1')", "FinetuneConfig.epochs=(9.0, 2.0)"),),
        (MRPC, _with_recipes(MRPC_AND_RTE, rte=9.0)),
        (_with_recipes(MRPC, mrpc=4.0), _with_recipes(MRPC_AND_RTE, rte=9.0, mrpc=4.0)),
    ],
)
def test_what_adds_to_a_run_continues_it(tmp_path: Path, before: RunConfig, after: RunConfig) -> None:
    assert grows(_settings(before), _settings(after))
    assert not write_run_identity(tmp_path, before, "one", {})
    write_json(tmp_path / "data" / "stage.json", {})
    assert write_run_identity(tmp_path, after, "two", {}) == (before != after)
    assert (tmp_path / "config.gin").read_text() == "two"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (_config("SearchConfig.num_trials=16"), BASE),
        (BASE, _config("SearchConfig.plateau_trials=2")),
        (BASE, _config(f"FinetuneConfig.seeds={(77, *SEEDS)}")),
        (BASE, _config("DistillConfig.seeds=(5, 0)")),
        (BASE, FEWER),
        (BASE, _config("FinetuneConfig.batch_size=7")),
        (BASE, _config("RunConfig.seed=1")),
        (BASE, _config("PretrainConfig.steps=1", "SearchConfig.num_trials=16")),
        (BASE, _config("mobilebert/BaselineConfig.title='Another'")),
        (_config("DataConfig.tasks=('glue_mrpc_v1',)", "FinetuneConfig.epochs=(2.0,)"),)
        + (_config("DataConfig.tasks=('glue_rte_v1', 'glue_mrpc_v1')", "FinetuneConfig.epochs=(2.0, 9.0)"),),
        (dataclasses.replace(BASE, search=None), BASE),
        (MRPC, _with_recipes(MRPC_AND_RTE, mrpc=4.0)),
        (_with_recipes(MRPC, mrpc=4.0), MRPC),
    ],
)
def test_what_would_change_a_result_is_refused(tmp_path: Path, before: RunConfig, after: RunConfig) -> None:
    assert not grows(_settings(before), _settings(after))
    write_run_identity(tmp_path, before, "one", {})
    write_json(tmp_path / "data" / "stage.json", {})
    with pytest.raises(RunError, match="holds a run of other settings"):
        write_run_identity(tmp_path, after, "two", {})
    assert (tmp_path / "config.gin").read_text() == "one"


def test_a_search_that_was_cut_inside_a_group_refuses_more_trials_before_anything_is_written(tmp_path: Path) -> None:
    before, after = (_config(f"SearchConfig.num_trials={count}") for count in (5, 8))
    write_run_identity(tmp_path, before, "one", {})
    write_json(tmp_path / "data" / "stage.json", {})
    with Journal(tmp_path / "search" / "journal.jsonl") as journal:
        for count in (2, 2, 1):
            journal.start([({"num_hidden_layers": 2}, "design")] * count)
    held = (tmp_path / "config.json").read_bytes()
    for refused in (lambda: write_run_identity(tmp_path, after, "two", {}), lambda: read_done(after, tmp_path)):
        with pytest.raises(RunError, match="the 5 trials of this folder end inside a group of parallel_trials = 2"):
            refused()
    assert (tmp_path / "config.json").read_bytes() == held and (tmp_path / "config.gin").read_text() == "one"
    # The command that was there before goes on.
    assert not write_run_identity(tmp_path, before, "one", {})


def _grown(run: Run, **changes: Any) -> Run:
    return Run(dataclasses.replace(run.config, **changes), run.workdir, run.progress)


def test_fine_tunings_that_are_there_are_kept_when_seeds_and_tasks_are_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, system = make_run(tmp_path, "test")
    done: list[tuple[str, int]] = []

    def noted(run: Run, system: Any, starts: Any, group: list[str], seed: int, folder: Path, settings: Any) -> Any:
        done.append((group[0], seed))
        return "parameters", 8

    monkeypatch.setattr(finetuning, "_trained", noted)
    monkeypatch.setattr(finetuning, "_predicted", lambda run, system, model, *_: {"scores": {}, "model": model()})
    config = dataclasses.replace(run.config, finetune=dataclasses.replace(run.config.finetune, keep_found_bytes=0))
    run = _grown(run, finetune=config.finetune)
    few = _grown(
        run,
        data=dataclasses.replace(config.data, tasks=(MISMATCHED, MNLI)),
        finetune=dataclasses.replace(config.finetune, seeds=(0,), epochs=(9.0, 4.0)),
    )
    finetuning.finetuned_system(few, system)
    assert done == [(MNLI, 0)]
    done.clear()
    more_seeds = _grown(few, finetune=dataclasses.replace(few.config.finetune, seeds=(0, 1)))
    finetuning.finetuned_system(more_seeds, system)
    assert done == [(MNLI, 1)]
    done.clear()
    # AX is predicted with the model of MNLI, whose row length may follow from it: that model is trained again.
    finetuning.finetuned_system(run, system)
    assert AX in run.config.data.tasks and done == [(MNLI, 0), (MNLI, 1)]
    done.clear()
    finetuning.finetuned_system(run, system)
    assert done == []
