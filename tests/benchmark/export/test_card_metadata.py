"""The front matter of model cards as huggingface_hub reads it, and the command that publishes a folder."""

from __future__ import annotations

import json
import shlex
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from baselines.__main__ import main
from benchmark.export.model_card import FineTuned, model_card
from benchmark.records.record import Record
from benchmark.records.task_score import MetricScore
from tasks.catalogue import get_task
from tests.helpers.board_records import make_record, make_task
from tests.helpers.encoders import small_encoder
from tests.helpers.kept_models import keep

GENERATED = "DataConfig.source = 'microworld'\n"


def scored(task: str, **values: list[float]) -> Any:
    metrics = {name: MetricScore(value=sorted(v)[len(v) // 2], per_seed=v) for name, v in values.items()}
    return make_task(0.0, task, metrics=metrics, primary_metric=next(iter(values)), seeds=[5, 6, 7])


def record(gin_text: str = "") -> Record:
    tasks = (
        scored("glue_mnli_matched_v1", accuracy=[80.25, 81.5, 82.0]),
        scored("glue_mnli_mismatched_v1", accuracy=[70.0, 71.125, 72.0]),
        scored("glue_mrpc_v1", f1=[90.0, 91.0, 92.0], accuracy=[85.0, 86.0, 87.0]),
        scored("squad_v1_1_v1", f1=[60.0, 61.0, 62.0], exact_match=[50.0, 51.0, 52.0]),
    )
    return make_record("found-x", *tasks, gin_text=gin_text)


def read(record: Record, task: str | None, seed: int = 6) -> Any:
    """Reads the card of a record's model as the hub's library does."""
    tuned = None if task is None else FineTuned(get_task(task), seed)
    return ModelCard(model_card(record, "bert", tuned), ignore_metadata_errors=False).data


def test_the_scores_are_those_of_the_exported_seed_and_of_its_tasks() -> None:
    data = read(record(), "glue_mnli_matched_v1")
    assert (data.license, data.language, data.library_name) == ("other", "en", "transformers")
    assert data.pipeline_tag == "text-classification"
    assert data.datasets == ["nyu-mll/glue"] and data.metrics == ["accuracy"]
    assert data.model_name == "System"
    found = {
        (r.task_type, r.dataset_type, r.dataset_config, r.dataset_split, r.metric_type): r.metric_value
        for r in data.eval_results
    }
    assert found == {
        ("text-classification", "nyu-mll/glue", "mnli", "validation_matched", "accuracy"): 81.5,
        ("text-classification", "nyu-mll/glue", "mnli", "validation_mismatched", "accuracy"): 71.12,
    }
    data = read(record(), "squad_v1_1_v1")
    assert data.pipeline_tag == "question-answering" and data.datasets == ["rajpurkar/squad"]
    assert {r.metric_type: r.metric_value for r in data.eval_results} == {"f1": 61.0, "exact_match": 51.0}


def test_generated_data_are_not_taken_for_those_of_the_hub() -> None:
    data = read(record(GENERATED), "glue_mrpc_v1")
    assert data.license == "apache-2.0" and data.datasets is None
    assert {(r.dataset_type, r.dataset_name, r.metric_type) for r in data.eval_results} == {
        ("glue_mrpc_v1", "MRPC of a generated toy world", "f1"),
        ("glue_mrpc_v1", "MRPC of a generated toy world", "accuracy"),
    }


def test_a_model_before_fine_tuning_has_its_masked_lm_accuracy_alone() -> None:
    data = read(record(), None)
    assert data.pipeline_tag == "fill-mask" and data.datasets is None
    (found,) = data.eval_results
    assert (found.task_type, found.metric_type, found.metric_value) == ("fill-mask", "accuracy", 40.0)


def test_a_model_without_scores_of_its_own_has_none() -> None:
    data = read(record(), "glue_mrpc_v1", seed=1)
    assert data.eval_results is None and data.metrics is None
    assert "model_name" not in data.to_dict() and "model-index" not in data.to_dict()


def test_a_title_is_data_in_the_front_matter() -> None:
    title = 'a: "b" #c\n--- &d'
    made = record()
    made = made.model_copy(update={"system": made.system.model_copy(update={"title": title})})
    assert read(made, "glue_mrpc_v1").model_name == title


def test_the_publishing_command_is_printed_and_nothing_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported, _ = keep(tmp_path / "run", small_encoder(), "glue_stsb_v1")
    directory = tmp_path / "my model"
    words = ["export", str(exported), "--task=glue_stsb_v1", f"--to={directory}", "--no_onnx"]
    assert main([*words, "--push_to_hub=my-org/tiny.1"]) == 0
    *_, note, command = capsys.readouterr().out.splitlines()
    assert "nothing was sent" in note
    assert shlex.split(command) == ["hf", "upload", "my-org/tiny.1", str(directory)]
    # The command that the installed library has.
    (program,) = entry_points(group="console_scripts", name="hf")
    assert callable(program.load())
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= {p.name for p in directory.iterdir()}
    # Nothing names the place in which it was made.
    assert not any(str(tmp_path) in path.read_text(errors="replace") for path in directory.rglob("*.json"))
    assert json.loads((directory / "config.json").read_text())["problem_type"] == "regression"


@pytest.mark.parametrize("name", ["", "a/b/c", "tiny", "org/", "org/a--b", "org/ä", "org/x.git", "-org/x", "org/a b"])
def test_a_name_that_no_repository_can_have_is_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "none.json", f"--to={tmp_path / 'out'}", f"--push_to_hub={name}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --push_to_hub={name!r}: expected ORG/NAME") and error.count("\n") == 1
