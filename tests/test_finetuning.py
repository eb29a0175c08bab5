"""The stage that fine-tunes: MNLI once for each seed, and MNLI-mm and AX with its model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark import finetuning, pipeline
from benchmark.config import EncoderConfig, FinetuneConfig, OptimizerConfig
from benchmark.evaluation import finetune
from benchmark.gin_loader import load_run_config
from benchmark.stages import Run, SystemPlan
from benchmark.training import checkpoints
from benchmark.training.pretrain import init_params
from tasks import metrics
from tasks.array_writer import array_directory

TINY = Path(__file__).parent / "e2e" / "tiny.gin"
MNLI, MISMATCHED, AX = "glue_mnli_matched_v1", "glue_mnli_mismatched_v1", "glue_ax_v1"
ENCODER = EncoderConfig(
    vocab_size=40,
    embedding_size=8,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intra_bottleneck_size=8,
    intermediate_size=16,
    num_feedforward_networks=1,
    max_position_embeddings=24,
    initializer_range=0.1,
)


def write_rows(directory: Path, count: int, labelled: bool, seed: int, used: int = 16) -> str:
    """Rows of `used` tokens whose first one is the label."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, count)
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
    """A run after its distillation: arrays, and one system with random parameters."""
    data = workdir / "data"
    tasks = {
        MNLI: {"train": write_rows(data / "m-train", 96, True, 0), "validation": write_rows(data / "m", 40, True, 1)},
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
            seeds=(0, 1), epochs=(9.0, 9.0, 4.0), batch_size=16, optimizer=OptimizerConfig(learning_rate=0.02)
        ),
    )
    return Run(config, workdir, lambda line: None), system


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Lets fine-tuning work as it does, and notes what it is asked for."""
    calls: list[tuple[Any, ...]] = []
    real = finetune.finetune

    def noted(encoder: Any, params: Any, task: Any, rows: Any, length: int, pad: int, *rest: Any) -> Any:
        config, epochs, seed, _ = rest
        calls.append((task.name, seed, epochs, length))
        return real(encoder, params, task, rows, length, pad, *rest)

    monkeypatch.setattr(finetune, "finetune", noted)
    return calls


def results(run: Run, task: str) -> list[dict[str, Any]]:
    paths = [finetuning.prediction_path(run, "toy", task, seed) for seed in (0, 1)]
    return [json.loads(path.read_text())["result"] for path in paths]


def test_one_model_predicts_all_of_mnli(tmp_path: Path, trained: list[tuple[Any, ...]]) -> None:
    run, system = make_run(tmp_path, "test")
    marker = finetuning.finetuned_system(run, system)
    assert not marker["reused"]
    # The third number of epochs is MNLI's; 20 columns, rounded up, are those of the longest rows, MNLI-mm's.
    assert trained == [(MNLI, 0, 4.0, 24), (MNLI, 1, 4.0, 24)]
    for task in (MNLI, MISMATCHED):
        expected = run.rows("tasks", task, "validation").features["label"]
        for result in results(run, task):
            assert result["split"] == "validation"
            assert result["scores"] == metrics.score(task, result["predictions"], expected)
            # The label stands in the row: a model that was trained on other rows could not do this.
            assert result["scores"]["accuracy"] > 80.0


def test_without_labels_predictions_are_kept_and_not_scored(tmp_path: Path, trained: list[tuple[Any, ...]]) -> None:
    run, system = make_run(tmp_path, "test")
    finetuning.finetuned_system(run, system)
    for result in results(run, AX):
        assert (result["split"], result["scores"]) == ("test", {})
        ids = np.asarray(run.rows("tasks", AX, "test").features["input_ids"])
        assert np.mean(ids[:, 0] - 10 == result["predictions"]) > 0.8
    unscored = pipeline.unscored(run, "toy", AX)
    assert (unscored.task, unscored.split, unscored.num_examples, unscored.seeds) == (AX, "test", 20, [0, 1])
    assert all((run.workdir / name).is_file() for name in unscored.predictions)


def test_with_labels_the_diagnostic_set_is_scored(tmp_path: Path, trained: list[tuple[Any, ...]]) -> None:
    run, system = make_run(tmp_path, "validation")
    finetuning.finetuned_system(run, system)
    assert all(set(result["scores"]) == {"matthews"} for result in results(run, AX))


def test_what_is_there_is_not_predicted_again(tmp_path: Path, trained: list[tuple[Any, ...]]) -> None:
    run, system = make_run(tmp_path, "test")
    finetuning.finetuned_system(run, system)
    before = results(run, MISMATCHED)
    trained.clear()
    assert finetuning.finetuned_system(run, system)["reused"]
    assert trained == []
    # A run that was killed between two predictions of one model trains that model again, and gets the same.
    finetuning.prediction_path(run, "toy", MISMATCHED, 1).unlink()
    assert not finetuning.finetuned_system(run, system)["reused"]
    assert [(task, seed) for task, seed, *_ in trained] == [(MNLI, 1)]
    assert results(run, MISMATCHED) == before


def test_a_task_without_its_model_is_refused_before_anything_starts() -> None:
    with pytest.raises(ValueError, match="DataConfig.tasks = .*'glue_mnli_matched_v1' too, as its model predicts"):
        load_run_config([str(TINY)], [f"DataConfig.tasks = ('{AX}',)"])
