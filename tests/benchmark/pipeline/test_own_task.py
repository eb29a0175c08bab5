"""Own tasks on the way of a run: gin, arrays, fine-tuning, record; any number of labels."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.cli.gin_loader import load_run_config
from benchmark.config import FinetuneConfig, OptimizerConfig, TrainerConfig
from benchmark.evaluation.predict import predict
from benchmark.pipeline import data, record_scores
from benchmark.pipeline import finetune as finetuning
from benchmark.pipeline.run_context import Run, SystemPlan
from benchmark.training import checkpoints, finetune
from benchmark.training.batches import TaskData
from benchmark.training.job import TrainingJob
from benchmark.training.pretrain import init_params
from tasks.arrays import token_arrays
from tasks.catalogue import own_task_info
from tasks.sources import own
from tasks.system.repository import REPOSITORY
from tests.helpers.encoders import small_encoder
from tests.helpers.mnli_run import TINY, write_rows
from tests.helpers.own_tasks import STARS, own_task, read, write_stars

TEXT = "the lamp is superb and the phone is awful . a good one is here . it is fair or weak . " * 40
HOW_TO = (REPOSITORY / "docs" / "how_to" / "own_task.md").read_text(encoding="utf-8")


def make_run(folder: Path, progress: Any = lambda line: None) -> Run:
    """A run on a five-class file, by its gin settings alone."""
    bindings = [
        "DataConfig.source = 'files'",
        f"DataConfig.directory = '{folder}'",
        "DataConfig.pretrain_corpora = ('text.txt',)",
        "DataConfig.pretrain_validation = ''",
        "DataConfig.validation_rows = 2",
        "DataConfig.vocabulary_size = 90",
        "DataConfig.task_length = 16",
        "DataConfig.tasks = ('stars_v1',)",
        "DataConfig.own_tasks = (@TaskConfig(),)",
        "TaskConfig.name = 'stars_v1'",
        "TaskConfig.title = 'Stars'",
        "TaskConfig.train = 'stars.tsv'",
        "TaskConfig.validation_fraction = 0.25",
        "TaskConfig.label_column = 'stars'",
        "TaskConfig.metrics = ('accuracy', 'macro_f1')",
    ]
    config = load_run_config([str(TINY)], bindings)
    optimizer = OptimizerConfig(learning_rate=0.003)
    settings = FinetuneConfig(seeds=(0, 1), epochs=(20.0,), batch_size=16, optimizer=optimizer)
    return Run(dataclasses.replace(config, finetune=settings), folder / "run", progress)


def test_five_classes_become_a_task_with_gin_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_stars(tmp_path / "stars.tsv", count=320)
    (tmp_path / "text.txt").write_text(TEXT)
    lines: list[str] = []
    run = make_run(tmp_path, lines.append)
    data.data_stage(run)
    encoder = small_encoder(vocab_size=run.data["vocabulary"]["size"])
    system = SystemPlan("toy", "Toy", "found", encoder, tmp_path / "run" / "students" / "toy")
    checkpoints.save(system.directory / "params", init_params(encoder, 0))
    (system.directory / "stage.json").write_text(json.dumps({"fingerprint": "f", "result": {}, "seconds": 0.0}))
    finetuning.finetuned_system(run, system)
    scored, _ = record_scores.task_score(run, system, "stars_v1")
    assert scored.num_examples == 80
    # One word decides the label; an answer that ignores the text gets a fifth.
    assert scored.metrics["accuracy"].value > 60.0
    assert scored.primary_metric == "accuracy" and set(scored.metrics) == {"accuracy", "macro_f1"}
    assert all(metric.interval is not None for metric in scored.metrics.values())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert scored.definition is not None
    assert scored.definition.model_dump(mode="json") == {
        "title": "Stars",
        "kind": "classification",
        "files": {"train": {"name": "stars.tsv", "format": "tsv", "sha256": digest}},
        "examples": {"train": 240, "validation": 80},
        "validation_fraction": 0.25,
        "split_seed": 0,
        "text_columns": ["text"],
        "label_column": "stars",
        "label_names": list(STARS),
        "label_range": [],
        "unanswerable": False,
        "metrics": ["accuracy", "macro_f1"],
    }
    assert run.data["source_files"]["stars_v1/train/stars.tsv"]["sha256"] == digest
    assert run.data["warnings"] == []
    # Called again, the stage looks at the file, and makes the arrays again if it was edited.
    made: list[object] = []

    def make(*arguments: object) -> dict[str, Any]:
        made.append(arguments)
        return {"seconds": {}}

    monkeypatch.setattr(data, "run_in_child", make)
    assert data.data_stage(run)["reused"]
    write_stars(path, count=320, seed=1)
    assert not data.data_stage(run)["reused"]
    assert len(made) == 1
    assert "data: stars_v1/train/stars.tsv is not the file that it was; making its arrays again" in lines


@pytest.mark.parametrize("count", [2, 150])
def test_any_number_of_labels_is_learnt_and_predicted(tmp_path: Path, count: int) -> None:
    """With labels beyond the outputs of its head a loss would be no number."""
    path = tmp_path / "t.tsv"
    path.write_text("text\tlabel\n" + "".join(f"x\t{n}\n" for n in range(count)))
    task = own.resolve(own_task(path))
    write_rows(tmp_path / "rows", 32, True, 0)
    arrays = token_arrays.load(tmp_path / "rows")
    labels = np.arange(32) * (count - 1) // 31
    rows = dataclasses.replace(arrays, features={**arrays.features, "label": labels.astype(np.int32)})
    assert labels.max() == count - 1
    encoder = small_encoder()
    config = FinetuneConfig(epochs=(1.0,), batch_size=16, optimizer=OptimizerConfig(learning_rate=0.01))
    job = TrainingJob("t", seed=0, trainer=TrainerConfig())
    tuned = finetune.finetune(
        encoder, init_params(encoder, 0)["encoder"], TaskData(task, rows, 24, 0), config, 1.0, job
    )
    outputs = predict(encoder, tuned.params, task, rows, 24, 0)
    assert outputs.shape == (32, count)
    assert np.isfinite(outputs).all()


def test_labels_need_not_be_known_for_a_dry_run(tmp_path: Path) -> None:
    from benchmark.dry_run import report

    write_stars(tmp_path / "stars.tsv")
    config = make_run(tmp_path).config
    (line,) = report.shape_lines(config, ("finetune",))
    assert line == "stars_v1: as many labels as the training file has; TaskConfig.label_names gives them before"
    task = dataclasses.replace(config.data.own_tasks[0], label_names=tuple(STARS))
    named = dataclasses.replace(config, data=dataclasses.replace(config.data, own_tasks=(task,)))
    (line,) = report.shape_lines(named, ("finetune",))
    assert "parameters" in line


def blocks() -> list[str]:
    """The code blocks of the how-to, without their indentation."""
    found = re.findall(r"^( *)```\n(.*?)^ *```$", HOW_TO, re.MULTILINE | re.DOTALL)
    return [re.sub(f"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def test_the_how_to_can_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is made and read by its settings; the shipped gin file says the same as the page."""
    make_file, shown, command, _ = blocks()
    script = re.search(r"<<'END'\n(.*)\nEND\n", make_file, re.DOTALL)
    assert script is not None
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    exec(compile(script[1], "how_to", "exec"), {})
    flags = command.split()
    files = [flag.removeprefix("--gin_file=") for flag in flags if flag.startswith("--gin_file=")]
    bindings = [flag.removeprefix("--gin.") for flag in flags if flag.startswith("--gin.")]
    config = load_run_config(files, bindings)
    config.data.check_files()
    info = own.resolve(config.data.request().own_tasks[0])
    assert info.label_names == ("billing", "delivery", "login", "quality", "returns")
    assert (len(read(info, "train")), len(read(info, "validation"))) == (400, 100)
    shipped = (REPOSITORY / "gin" / "data" / "own_task.gin").read_text(encoding="utf-8").splitlines()
    assert [line for line in shown.splitlines() if line not in shipped] == []
    assert own_task_info(config.data.own_tasks[0].request(None)).metrics == ("accuracy", "macro_f1")
