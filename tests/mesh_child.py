"""Pretrains a tiny teacher and distils a tiny student on one mesh after another; a process that test_mesh starts.

Arguments: a folder for the results, and a JSON object that names for each mesh ("4x2": data x model) what to do on it.
With JAX_COORDINATOR_ADDRESS in the environment it joins other processes first.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.config import DistillConfig, EncoderConfig, MeshConfig, OptimizerConfig, PretrainConfig
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
PRETRAIN = PretrainConfig(steps=20, batch_size=8, optimizer=OPTIMIZER, checkpoint_every=10)
RECIPE = DistillConfig(
    layer_steps=5,
    distill_steps=10,
    batch_size=8,
    transfer_optimizer=OPTIMIZER,
    distill_optimizer=OPTIMIZER,
    one_program=True,
    checkpoint_every=1000,
)
NUM_ROWS = 40
SEED = 3


class Recorded:
    """An array that remembers which rows were read."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.read: list[list[int]] = []

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        self.read.append(np.asarray(rows).tolist())
        return np.asarray(self.values[rows])


def token_ids() -> np.ndarray:
    """`[CLS] tokens [SEP]` rows of two lengths."""
    ids = np.random.default_rng(0).integers(5, STUDENT.vocab_size, (NUM_ROWS, 12)).astype(np.int32)
    ids[:, 0], ids[:, -1], ids[::3, 9:] = 2, 3, 0
    return ids


def do(mesh_name: str, work: list[str], out: Path) -> dict[str, Any]:
    """Does the work on one mesh; parameters and metrics are left in `out`, and facts are returned."""
    import jax

    from benchmark.distillation import distill as distillation
    from benchmark.training import checkpoints, partitioning, pretrain
    from benchmark.training.masking import SpecialTokens
    from benchmark.training.optimizers import make_direction
    from benchmark.training.state import init_state, make_train_step
    from tasks.arrays import TokenArrays

    steps: list[Any] = []

    def remembered(*arguments: Any, **options: Any) -> Any:
        steps.append(make_train_step(*arguments, **options))
        return steps[-1]

    module: Any = sys.modules["benchmark.distillation.distill"]
    module.make_train_step = pretrain.make_train_step = remembered  # type: ignore[assignment]
    del distillation
    ids = Recorded(token_ids())
    rows = TokenArrays(Path(), {"input_ids": ids}, {"rows": NUM_ROWS})  # type: ignore[dict-item]
    special = SpecialTokens(vocab_size=STUDENT.vocab_size, pad_id=0, cls_id=2, sep_id=3, mask_id=4)
    data, model = (int(size) for size in mesh_name.split("x"))
    mesh = partitioning.make_mesh(MeshConfig(data=data, model=model))
    facts: dict[str, Any] = {}
    start = pretrain.init_params(TEACHER, 7)
    if "pretrain" in work:
        params, report = pretrain.pretrain(
            TEACHER, PRETRAIN, rows, special, SEED, out / "teacher", lambda line: None, mesh=mesh
        )
        checkpoints.save(out / "pretrain", params)
        facts["pretrain_read"], ids.read = ids.read, []
        facts["pretrain_loss"] = report.last["loss"]
        facts["scores"] = pretrain.evaluate_masked_lm(TEACHER, params, rows, special, 0.15, 16, mesh)
    if "distill" in work:
        teacher = module.Teacher(TEACHER, partitioning.place(mesh, start))
        progress: Any = lambda line: None  # noqa: E731
        options = {"seed": SEED, "directory": None, "name": "student", "progress": progress, "mesh": mesh}
        ids.read = []
        params, _ = module.distill(STUDENT, teacher, RECIPE, rows, special, **options)
        checkpoints.save(out / "distill", params)
        facts["distill_read"] = ids.read
        if mesh is not None:
            wanted = partitioning.shardings(mesh, params)
            same = jax.tree.map(lambda x, where: x.sharding.is_equivalent_to(where, x.ndim), params, wanted)
            facts["stays_divided"] = all(jax.tree.leaves(same))
            key = jax.random.key(0)
            ids_now, _ = pretrain.take_rows(rows, 8, 0, SEED, mesh)
            masked = partitioning.divide_rows(mesh, module.mask_tokens(key, ids_now, special, 0.15, None))
            outputs = module.teacher_outputs(TEACHER, teacher.params, masked)
            facts["teacher_shards"] = {
                name: list(value.addressable_shards[0].data.shape) for name, value in outputs._asdict().items()
            }
    facts["compiled"] = [step._cache_size() for step in steps]
    if "checkpoint" in work:
        state = init_state(start, make_direction(OPTIMIZER))
        placed = partitioning.place(mesh, state)
        kernel = placed.params["encoder"]["layers"]["query"]["kernel"]
        moments = [
            leaf for path, leaf in jax.tree.leaves_with_path(placed.opt_state) if leaf.shape == kernel.shape
        ]
        facts["query_shards"] = [list(x.addressable_shards[0].data.shape) for x in (kernel, *moments)]
        source = out.parent / "state"
        if not source.exists():
            checkpoints.save(source, tuple(placed))
        restored = checkpoints.restore(source, jax.eval_shape(lambda: tuple(state)), mesh)
        facts["restored"] = all(
            np.array_equal(a, b) for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(tuple(state)), strict=True)
        )
        facts["restored_divided"] = mesh is None or all(
            x.sharding.is_equivalent_to(y.sharding, x.ndim)
            for x, y in zip(jax.tree.leaves(restored), jax.tree.leaves(tuple(placed)), strict=True)
        )
    return facts


def main() -> None:
    """Does the work on all meshes; each process writes its facts."""
    out = Path(sys.argv[1])
    if distributed.ADDRESS in os.environ:
        distributed.join()
    facts = {name: do(name, work, out / name) for name, work in json.loads(sys.argv[2]).items()}
    (out / f"facts{distributed.process_index()}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
