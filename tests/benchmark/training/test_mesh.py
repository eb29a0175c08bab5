"""Training on meshes of eight virtual devices and in two real processes, against one device."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from benchmark.models.formulas import num_parameters
from benchmark.training import checkpoints
from benchmark.training.pretrain import init_params
from tasks.arrays.token_arrays import batch_indices
from tasks.system.repository import REPOSITORY
from tests.helpers.mesh_child import NUM_ROWS, RECIPE, SEED, STUDENT, TEACHER

MESHES = {
    "1x1": ["restore", "pretrain", "distill"],
    "8x1": ["distill"],
    "1x8": ["distill"],
    "4x2": ["restore", "distill"],
    "2x4": ["restore", "pretrain"],
}
TOLERANCE = 1e-5

pytestmark = pytest.mark.slow


def start(out: Path, work: dict[str, list[str]], devices: int, **variables: str) -> subprocess.Popen[str]:
    """Starts the child with so many virtual devices; its programs are compiled fast rather than well."""
    out.mkdir(exist_ok=True)
    quick = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
    flags = f"--xla_force_host_platform_device_count={devices} {quick} --xla_cpu_use_fusion_emitters=false"
    return subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.mesh_child", str(out), json.dumps(work)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, **variables},
    )


def run_all(folder: Path) -> None:
    """One process with eight devices, then two with two devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    joined = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    work = {"2x2": ["restore", "distill"]}
    alone = [start(folder / "alone", MESHES, 8)]
    both = [start(folder / "both", work, 2, JAX_PROCESS_ID=str(n), **joined) for n in range(2)]
    for process in [*alone, *both]:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the children left; parallel workers of pytest share one run."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "mesh"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "done").exists():
            run_all(shared)
            (shared / "done").touch()
    return shared


def facts(folder: Path, process: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"facts{process}.json").read_text())
    return found


def assert_same(one: Path, two: Path, like: Any) -> None:
    """Both checkpoints hold the same parameters, which training has moved."""
    first, second = checkpoints.restore(one, like), checkpoints.restore(two, like)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE)
    moved = [np.abs(a - b).max() for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(like), strict=True)]
    assert np.median(moved) > 100 * TOLERANCE


@pytest.mark.parametrize(("processes", "mesh"), [("alone", "8x1"), ("alone", "1x8"), ("alone", "4x2"), ("both", "2x2")])
def test_distillation_is_that_of_one_device(folder: Path, processes: str, mesh: str) -> None:
    one, other = folder / "alone/1x1/distilled", folder / processes / mesh / "distilled"
    assert_same(one, other, init_params(STUDENT, SEED))
    scores = [facts(folder / "alone")["1x1"], facts(folder / processes)[mesh]]
    assert scores[1]["distill"]["scores"] == pytest.approx(scores[0]["distill"]["scores"], abs=TOLERANCE)


def test_pretraining_is_that_of_one_device(folder: Path) -> None:
    found = facts(folder / "alone")
    assert_same(folder / "alone/1x1/pretrained", folder / "alone/2x4/pretrained", init_params(TEACHER, SEED))
    assert found["2x4"]["pretrain"]["loss"] == pytest.approx(found["1x1"]["pretrain"]["loss"], abs=TOLERANCE)


def test_steps_are_compiled_once_and_leave_the_state_where_it_was(folder: Path) -> None:
    found = {**facts(folder / "alone"), **facts(folder / "both")}
    for mesh in (*MESHES, "2x2"):
        for work in ("pretrain", "distill"):
            if work in found[mesh]:
                # A batch that is divided in parts: once to count, once for the shapes and once to compute.
                traces = 3 if (mesh, work) == ("2x4", "pretrain") else 1
                # The list goes on with the steps that later meshes made.
                assert found[mesh][work]["traced"][0] == traces, (mesh, work)
                assert found[mesh][work]["lies"], (mesh, work)


def test_each_device_holds_its_part(folder: Path) -> None:
    found = facts(folder / "alone")
    for mesh, groups, devices in (("8x1", 8, 1), ("1x8", 1, 8), ("4x2", 4, 2)):
        work = found[mesh]["distill"]
        assert {shape[0] for shape in work["batch_parts"].values()} == {8 // groups}
        # `[layers, batch, ...]`, but logits `[batch, predictions, vocab]`.
        teacher = work["teacher_parts"]
        assert teacher["['hidden_states']"] == [2, 8 // groups, 12, 16]
        assert teacher["['attention_scores']"] == [2, 8 // groups, 8 // devices, 12, 12]
        assert teacher["['logits']"] == [8 // groups, 2, 64 // devices]
    for mesh, devices in (("4x2", 2), ("2x4", 4)):
        kept = found[mesh]["restore"]["parts"]
        queries = [shape for name, shape in kept.items() if name.endswith("['query']['kernel']")]
        # The parameter and both moments of its optimizer.
        assert queries == [[2, 16, 16 // devices]] * 3
        assert kept[".params['encoder']['embeddings']['norm']['scale']"] == [16]


def test_checkpoints_move_between_meshes(folder: Path) -> None:
    alone, both = facts(folder / "alone"), facts(folder / "both")
    for found in (alone["1x1"], alone["4x2"], alone["2x4"], both["2x2"]):
        assert found["restore"]["equal"]
        assert found["restore"]["lies"]


def test_each_process_reads_its_share(folder: Path) -> None:
    batches = [batch_indices(NUM_ROWS, RECIPE.batch_size, step, SEED).tolist() for step in range(20)]
    reads = [facts(folder / "both", process)["2x2"]["distill"]["read"] for process in range(2)]
    assert reads[0] == [batch[:4] for batch in batches]
    assert reads[1] == [batch[4:] for batch in batches]


def test_one_process_writes(folder: Path) -> None:
    for phase in ("transfer", "distillation"):
        fit = folder / "both/2x2/student" / phase
        steps = [json.loads(line)["step"] for line in (fit / "metrics.jsonl").read_text().splitlines()]
        # The losses are looked at when a checkpoint is written, and at the end.
        assert steps == [5, 10]
        assert checkpoints.steps(fit / "checkpoints") == [5]


def test_processes_work_together(folder: Path) -> None:
    leader, follower = (facts(folder / "both", process)["together"] for process in range(2))
    assert leader["agreed"] == follower["agreed"] == [{"from": 0, "text": ""}, {"from": 0, "text": "x" * 3000}]
    assert leader["done"] == follower["done"] == ["first", "fail", "last"]
    assert leader["result"] == "first by 0"
    assert leader["reused"] == follower["reused"] == [False, True]
    assert leader["marker"] == follower["marker"] == {"by": 0, "files": ["stage0", "stage1"]}
    assert leader["count"] == 2


def test_the_models_are_tiny() -> None:
    assert max(num_parameters(STUDENT), num_parameters(TEACHER)) < 20_000
