"""The work of a search's trials: shared out among threads that take turns, or sent to workers."""

from __future__ import annotations

import dataclasses
import pickle
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from benchmark.cli.gin_loader import load_run_config
from benchmark.config import ExecutorConfig, OptimizerConfig, to_dict
from benchmark.pipeline import search
from benchmark.pipeline.run_context import Run
from benchmark.pipeline.search import FlashDistillation, shared_work
from benchmark.search.journal import Trial
from benchmark.training.fit import Steps, fit
from benchmark.training.job import TrainingJob
from benchmark.training.optimizers import make_optimizer
from benchmark.training.state import init_state, make_train_step
from tests.helpers import event_files
from tests.helpers.mnli_run import TINY


@pytest.mark.parametrize("executor", ["local", "ray"])
def test_on_a_mesh_threads_take_turns_and_workers_do_not(tmp_path: Path, executor: str) -> None:
    config = load_run_config([str(TINY)])
    assert config.search is not None
    settings = dataclasses.replace(config.search, executor=ExecutorConfig(name=executor))
    run = Run(dataclasses.replace(config, search=settings), tmp_path)
    evaluate = FlashDistillation(run)
    run.__dict__["mesh"] = "a mesh of several devices"
    shared = shared_work(run, evaluate)
    assert (shared is evaluate) == (executor == "ray")
    if executor == "ray":
        assert pickle.loads(pickle.dumps(shared)).run.config == run.config


@pytest.fixture
def toy_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a trial train two numbers in place of a student, as a phase of its recipe."""

    def distil(run: Run, teacher: Any, encoder: Any, recipe: Any, job: TrainingJob, **options: Any) -> Any:
        optimizer = make_optimizer(OptimizerConfig(learning_rate=0.1))
        step = make_train_step(lambda params, batch, settings: ((params["w"] ** 2).sum(), {}), optimizer)
        rate = np.float32(0.1)
        fit(init_state({"w": jnp.ones(2)}, optimizer), Steps(step, lambda n: ({}, rate, {}), 6), job.part("transfer"))
        return None, {"masked_lm": {"accuracy": 40.0, "accuracy_stderr": 0.5, "loss": 2.0}, "steps": 6}

    monkeypatch.setattr(search, "distil_student", distil)
    monkeypatch.setattr(search, "load_teacher", lambda run: None)
    monkeypatch.setattr(search, "recipe_start", lambda run: None)
    monkeypatch.setattr(Run, "encoder", lambda self, encoder: encoder)


def test_trials_have_event_files_also_in_workers(tmp_path: Path, toy_trials: None) -> None:
    config = load_run_config([str(TINY)])
    trainer = dataclasses.replace(config.trainer, log_every=2)
    run = Run(dataclasses.replace(config, trainer=trainer), tmp_path)
    assert config.search is not None
    job = {"encoder": to_dict(config.search.space.base), "number": 3, "fraction": 1.0}
    evaluate = FlashDistillation(run)
    assert evaluate(job)["accuracy"] == 40.0
    # A worker gets the settings and the folder; the trial that it takes over begins anew.
    time.sleep(1.0)
    pickle.loads(pickle.dumps(evaluate))(job)
    folder = tmp_path / "tensorboard"
    assert event_files.runs(folder) == {"search/trial_3/transfer"}
    assert len(list((folder / "search" / "trial_3" / "transfer").iterdir())) == 2
    shown = event_files.scalars(folder / "search" / "trial_3" / "transfer")
    assert [step for step, _ in shown["loss"]] == [2, 4, 6]
    off = Run(dataclasses.replace(config, trainer=dataclasses.replace(trainer, tensorboard=False)), tmp_path / "off")
    FlashDistillation(off)(job)
    assert not (tmp_path / "off").exists()


def test_the_outcome_of_a_trial_is_on_the_page_of_hyperparameters(tmp_path: Path) -> None:
    known = {"latency_s": 0.25, "parameters": 1000, "seconds": 3.0, "suggest_seconds": 0.0}
    ended = Trial(3, {"num_hidden_layers": 2, "hidden_size": 64}, "ax", "completed", {**known, "accuracy": 41.5})
    failed = Trial(4, {"num_hidden_layers": 1}, "ax", "failed", {**known, "latency_s": None, "error": "e"})
    for trial in (ended, failed):
        search._write_outcome(tmp_path, trial)
    assert event_files.runs(tmp_path) == {"search/trial_3", "search/trial_4"}
    first, second = tmp_path / "search" / "trial_3", tmp_path / "search" / "trial_4"
    assert event_files.hyperparameters(first) == {"num_hidden_layers": 2.0, "hidden_size": 64.0}
    shown = {"accuracy": 41.5, "latency_s": 0.25, "parameters": 1000.0, "seconds": 3.0}
    assert event_files.scalars(first) == {name: [(0, value)] for name, value in shown.items()}
    assert set(event_files.scalars(second)) == {"parameters", "seconds"}
