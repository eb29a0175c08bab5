"""The work of a search's trials: shared out among threads that take turns, or sent to workers."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest

from benchmark.cli.gin_loader import load_run_config
from benchmark.config import ExecutorConfig
from benchmark.pipeline.run_context import Run
from benchmark.pipeline.search import FlashDistillation, shared_work
from tests.helpers.mnli_run import TINY


@pytest.mark.parametrize("executor", ["local", "ray"])
def test_on_a_mesh_threads_take_turns_and_workers_do_not(tmp_path: Path, executor: str) -> None:
    config = load_run_config([str(TINY)])
    assert config.search is not None
    search = dataclasses.replace(config.search, executor=ExecutorConfig(name=executor))
    run = Run(dataclasses.replace(config, search=search), tmp_path)
    evaluate = FlashDistillation(run)
    run.__dict__["mesh"] = "a mesh of several devices"
    shared = shared_work(run, evaluate)
    assert (shared is evaluate) == (executor == "ray")
    if executor == "ray":
        assert pickle.loads(pickle.dumps(shared)).run.config == run.config
