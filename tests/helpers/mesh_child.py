"""Pretrains a tiny teacher and distils a tiny student on one mesh after another; test_mesh starts it as a process.

Arguments: a folder for the results, and a JSON object that names for each mesh ("4x2": data x model) what to do on it.
With JAX_COORDINATOR_ADDRESS in the environment it joins the other processes first. Results to compare are
left in the folder as checkpoints; each process leaves facts about the work as JSON.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import math
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmark.config import (
    DistillConfig,
    EncoderConfig,
    MeshConfig,
    OptimizerConfig,
    PhaseConfig,
    PretrainConfig,
    TrainerConfig,
)
from benchmark.pipeline.workdir import run_stage_once
from benchmark.training import distributed

STUDENT = EncoderConfig(
    vocab_size=64,
    embedding_size=8,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intra_bottleneck_size=8,
    intermediate_size=16,
    num_feedforward_networks=1,
    max_position_embeddings=16,
    initializer_range=0.1,
)
TEACHER = dataclasses.replace(
    STUDENT,
    num_attention_heads=8,
    intra_bottleneck_size=None,
    intermediate_size=32,
    normalization_type="layer_norm",
    key_query_shared_bottleneck=False,
)
OPTIMIZER = OptimizerConfig(name="lamb", learning_rate=1e-3)
PRETRAIN = PretrainConfig(steps=20, batch_size=8, optimizer=OPTIMIZER, checkpoint_every=1000)
TRANSFER = PhaseConfig(
    name="transfer",
    steps=5,
    optimizer=OPTIMIZER,
    per_layer=True,
    weights={"feature_map": 100.0, "feature_mean": 5000.0, "feature_variance": 5.0, "attention": 1.0},
)
DISTILLATION = PhaseConfig(
    name="distillation", steps=10, optimizer=OPTIMIZER, weights={"masked_lm": 1.0}, ground_truth_ratio=0.5
)
RECIPE = DistillConfig(
    phases=(TRANSFER, DISTILLATION),
    batch_size=8,
    one_program=True,
    checkpoint_every=5,
)
NUM_ROWS = 40
SEED = 3


class Recorded:
    """An array that remembers which rows were read."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape = values, values.shape
        self.read: list[list[int]] = []

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        self.read.append(np.asarray(rows).tolist())
        return np.asarray(self.values[rows])


def token_ids() -> np.ndarray:
    """Makes `[CLS] tokens [SEP]` rows of two lengths."""
    ids = np.random.default_rng(0).integers(5, STUDENT.vocab_size, (NUM_ROWS, 12)).astype(np.int32)
    ids[:, 0], ids[:, -1], ids[::3, 9:] = 2, 3, 0
    return ids


def traced(module: ModuleType) -> list[int]:
    """Counts how often each train step that `module` makes is traced, and so compiled."""
    counts: list[int] = []
    original = module.make_train_step  # type: ignore[attr-defined]

    def counting(loss: Any, optimizer: Any, **options: Any) -> Any:
        number = len(counts)
        counts.append(0)

        def counted(*arguments: Any) -> Any:
            counts[number] += 1
            return loss(*arguments)

        return original(counted, optimizer, **options)

    module.make_train_step = counting  # type: ignore[attr-defined]
    return counts


def parts(tree: Any) -> Any:
    """Returns the shape of the part of each array that one device holds."""
    import jax

    return {jax.tree_util.keystr(p): x.addressable_shards[0].data.shape for p, x in jax.tree.leaves_with_path(tree)}


def lies(tree: Any, mesh: Any) -> bool:
    """Returns True where the sharding of all arrays follows the rules."""
    import jax

    from benchmark.training.partitioning import shardings

    same = jax.tree.map(lambda x, where: x.sharding.is_equivalent_to(where, x.ndim), tree, shardings(mesh, tree))
    return all(jax.tree.leaves(same))


def on_host(tree: Any) -> Any:
    """Gathers arrays where this process has all parts: orbax compiles a program for each part that it writes."""
    import jax

    return jax.tree.map(lambda x: np.asarray(x) if x.is_fully_addressable else x, tree)


def pretrained(mesh: Any, rows: Any, special: Any, out: Path) -> dict[str, Any]:
    """Pretrains a teacher."""
    from benchmark.training import checkpoints, pretrain
    from benchmark.training.job import TrainingJob

    counts, ids = traced(pretrain), rows.features["input_ids"]
    # The batches of a mesh are also divided in parts, and its steps dispatched four at a time: the same steps still.
    trainer = TrainerConfig() if mesh is None else TrainerConfig(gradient_accumulation_steps=2, steps_per_dispatch=4)
    job = TrainingJob("teacher", out / "fit", SEED, trainer, mesh, progress=print)
    params, report = pretrain.pretrain(TEACHER, PRETRAIN, rows, special, job)
    checkpoints.save(out / "pretrained", on_host(params))
    facts = {"traced": counts, "read": list(ids.read), "loss": report.last["loss"]}
    return facts | {"lies": mesh is None or lies(params, mesh)}


def distilled(mesh: Any, rows: Any, special: Any, out: Path) -> dict[str, Any]:
    """Distils from a random teacher and evaluates the student; two processes also write checkpoints on the way."""
    import jax

    from benchmark.distillation.objectives import PhaseObjective
    from benchmark.distillation.outputs import teacher_outputs
    from benchmark.distillation.teacher_cache import Teacher
    from benchmark.evaluation.masked_lm import evaluate_masked_lm, masked_logits
    from benchmark.evaluation.pseudo_perplexity import pseudo_perplexity
    from benchmark.training import checkpoints, partitioning, pretrain
    from benchmark.training.batches import take_rows
    from benchmark.training.job import TrainingJob
    from benchmark.training.masking import mask_tokens

    module: Any = importlib.import_module("benchmark.distillation.distill")
    counts, ids = traced(module), rows.features["input_ids"]
    teacher = Teacher(TEACHER, partitioning.place(mesh, pretrain.init_params(TEACHER, 7)))
    directory = out / "student" if jax.process_count() > 1 else None
    job = TrainingJob("student", directory, SEED, mesh=mesh, progress=print)
    params, _ = module.distill(STUDENT, teacher, RECIPE, rows, special, job)
    checkpoints.save(out / "distilled", on_host(params))
    facts = {"traced": counts, "read": list(ids.read), "lies": mesh is None or lies(params, mesh)}

    def logits(_: int, batch: Any) -> Any:
        return masked_logits(TEACHER, teacher.params, batch).tokens

    # 40 rows make two whole batches and a half one.
    scores = evaluate_masked_lm(STUDENT, params, rows, special, 0.15, 16, mesh, logits)
    perplexity = pseudo_perplexity(STUDENT, params, rows, special, 4, 0.15, 16, mesh)["pseudo_perplexity"]
    facts["scores"] = scores | {"log_pseudo_perplexity": math.log(perplexity)}
    if mesh is not None:
        batch = take_rows(rows, RECIPE.batch_size, 0, SEED, mesh)
        masked = mask_tokens(jax.random.key(0), batch.input_ids, special, RECIPE.mask_rate, None, None)
        masked = partitioning.divide_rows(mesh, masked)
        facts["batch_parts"] = parts(masked)
        outputs = teacher_outputs(
            TEACHER, teacher.params, masked, PhaseObjective.from_phases(RECIPE.phases).teacher_needs
        )
        facts["teacher_parts"] = parts(outputs._asdict())
    return facts


def restored(mesh: Any, rows: Any, special: Any, out: Path) -> dict[str, Any]:
    """Restores a training state that the first mesh wrote."""
    import jax

    from benchmark.training import checkpoints, partitioning, pretrain
    from benchmark.training.optimizers import make_optimizer
    from benchmark.training.state import init_state

    state = init_state(pretrain.init_params(TEACHER, 7), make_optimizer(OPTIMIZER))
    # Values that a mistaken part or order would give away.
    numbers = iter(range(10**6))
    state = jax.tree.map(lambda x: (np.arange(x.size).reshape(x.shape) + 1000 * next(numbers)).astype(x.dtype), state)
    placed = partitioning.place(mesh, state)
    path = out.parent / "state"
    if not path.exists():
        checkpoints.save(path, placed)
    found = checkpoints.restore(path, jax.eval_shape(lambda: state), mesh)
    equal = jax.tree.map(np.array_equal, found, state)
    return {"parts": parts(placed), "equal": all(jax.tree.leaves(equal)), "lies": mesh is None or lies(found, mesh)}


WORK = {"pretrain": pretrained, "distill": distilled, "restore": restored}


def do(mesh_name: str, work: list[str], out: Path) -> dict[str, Any]:
    """Does the work on one mesh and returns its facts."""
    from benchmark.training.masking import SpecialTokens
    from benchmark.training.partitioning import make_mesh
    from tasks.arrays.token_arrays import TokenArrays

    special = SpecialTokens(vocab_size=STUDENT.vocab_size, pad_id=0, cls_id=2, sep_id=3, mask_id=4)
    data, model = (int(size) for size in mesh_name.split("x"))
    mesh = make_mesh(MeshConfig(data=data, model=model))
    facts = {}
    for name in work:
        rows = TokenArrays(Path(), {"input_ids": Recorded(token_ids())}, {"rows": NUM_ROWS})  # type: ignore[dict-item]
        facts[name] = WORK[name](mesh, rows, special, out)
    return facts


def cooperate(out: Path) -> dict[str, Any]:
    """Agrees, works one at a time and waits together with the other processes, without training."""
    me, count = distributed.process_index(), distributed.process_count()
    done: list[Any] = []

    def work(job: Any) -> str:
        done.append(job)
        if job == "fail":
            raise RuntimeError(job)
        return f"{job} by {me}"

    facts: dict[str, Any] = {"agreed": [distributed.broadcast({"from": me, "text": "x" * n}) for n in (0, 3000)]}
    if me == 0:
        announce = distributed.one_at_a_time(work)
        facts["result"] = announce("first")
        with contextlib.suppress(RuntimeError):
            announce("fail")
        announce("last")
        distributed.dismiss()
    else:
        # Process 0 must wait for the others, and not the others for a time limit.
        time.sleep(1.0)
        distributed.follow(work)

    def stage() -> dict[str, Any]:
        (out / f"stage{me}").touch()
        distributed.wait("both are in the stage")
        return {"by": me, "files": sorted(p.name for p in out.glob("stage[0-9]"))}

    for _ in range(2):
        marker = run_stage_once(
            out / "stage.json", "f", stage, lambda line: None, "stage", directory=out / "s", all_processes=True
        )
        facts.setdefault("reused", []).append(marker["reused"])
    return facts | {"count": count, "done": done, "marker": json.loads((out / "stage.json").read_text())["result"]}


def main() -> None:
    """Does the work on all meshes."""
    out, joins = Path(sys.argv[1]), distributed.ADDRESS in os.environ
    if joins:
        distributed.join()
    facts = {name: do(name, work, out / name) for name, work in json.loads(sys.argv[2]).items()}
    if joins:
        facts["together"] = cooperate(out)
    (out / f"facts{distributed.process_index()}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
