"""A run that has distilled one system and is about to fine-tune it on an MNLI that is easy to learn."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from benchmark.cli.gin_loader import load_run_config
from benchmark.config import FinetuneConfig, OptimizerConfig
from benchmark.pipeline.run_context import Run, SystemPlan
from benchmark.training import checkpoints
from benchmark.training.pretrain import init_params
from tasks.arrays.write import array_directory
from tasks.system.repository import REPOSITORY
from tests.helpers.encoders import small_encoder

TINY = REPOSITORY / "tests" / "e2e" / "tiny.gin"
MNLI, MISMATCHED, AX = "glue_mnli_matched_v1", "glue_mnli_mismatched_v1", "glue_ax_v1"
ENCODER = small_encoder()
# Enough that four epochs teach the label from every seed; with 96 rows, one seed in four stayed at chance.
TRAIN_ROWS = 384


def write_rows(directory: Path, count: int, labelled: bool, seed: int, used: int = 16, labels: int = 3) -> str:
    """Rows of `used` tokens whose first one is the label."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, labels, count)
    ids = np.zeros((count, 24), np.uint16)
    ids[:, :used] = rng.integers(13, 40, (count, used))
    ids[:, 0] = 10 + label
    batch: dict[str, np.ndarray] = {
        "input_ids": ids,
        "token_type_ids": np.zeros((count, 24), np.uint8),
        "label": label if labelled else np.full(count, -1),
    }
    dtypes = {"input_ids": np.uint16, "token_type_ids": np.uint8, "label": np.int32}
    with array_directory(directory, dtypes) as writer:
        writer.append(batch)
    return directory.name


def make_run(workdir: Path, ax_split: str) -> tuple[Run, SystemPlan]:
    """Makes a run after its distillation: arrays, and one system with random parameters."""
    data = workdir / "data"
    tasks = {
        MNLI: {
            "train": write_rows(data / "m-train", TRAIN_ROWS, True, 0),
            "validation": write_rows(data / "m", 40, True, 1),
        },
        MISMATCHED: {
            "validation": write_rows(data / "mm", 30, True, 2, used=20),
            "test": write_rows(data / "mm-test", 10, False, 3),
        },
        AX: {ax_split: write_rows(data / "ax", 20, ax_split == "validation", 4)},
    }
    vocabulary = {"size": 40, "pad_id": 0, "cls_id": 2, "sep_id": 3, "mask_id": 4}
    (data / "data.json").write_text(json.dumps({"tasks": tasks, "vocabulary": vocabulary}))
    system = SystemPlan("toy", "Toy", "found", ENCODER, workdir / "students" / "toy")
    checkpoints.save(system.directory / "params", init_params(ENCODER, 0))
    (system.directory / "stage.json").write_text(json.dumps({"fingerprint": "f", "result": {}, "seconds": 0.0}))
    tiny = load_run_config([str(TINY)])
    config = dataclasses.replace(
        tiny,
        data=dataclasses.replace(tiny.data, tasks=(AX, MISMATCHED, MNLI)),
        finetune=FinetuneConfig(
            seeds=(0, 1), epochs=(9.0, 9.0, 4.0), batch_size=16, optimizer=OptimizerConfig(learning_rate=0.01)
        ),
    )
    return Run(config, workdir, lambda line: None), system
