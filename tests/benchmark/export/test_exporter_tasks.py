"""Fine-tuned models as Hugging Face directories: they load with their heads and predict what the run predicted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import transformers

from baselines.__main__ import main
from benchmark.config import EncoderConfig
from benchmark.evaluation.predict import predict
from benchmark.pipeline import finetune as finetuning
from benchmark.pipeline.run_context import Run
from benchmark.records.record import read, write
from benchmark.training import checkpoints, finetune
from benchmark.training.batches import make_batch
from benchmark.training.initial import init_tree
from tasks.arrays.token_arrays import TokenArrays
from tasks.catalogue import get_task
from tasks.sources.own import resolve
from tests.helpers.encoders import small_bert, trained_like
from tests.helpers.kept_models import keep, write_record
from tests.helpers.mnli_run import AX, ENCODER, MISMATCHED, MNLI, make_run
from tests.helpers.own_tasks import STARS, own_definition, own_task, write_stars

BERT = small_bert()


def random_rows(count: int) -> TokenArrays:
    """Rows of different lengths."""
    rng = np.random.default_rng(0)
    used = np.arange(16) < rng.integers(3, 17, (count, 1))
    ids = rng.integers(5, 40, (count, 16)) * used
    types = (np.arange(16) > 6) * used
    return TokenArrays(Path(), {"input_ids": ids, "token_type_ids": types}, {"rows": count})


def inputs_of(rows: TokenArrays, length: int = 16) -> dict[str, np.ndarray]:
    """The rows as ONNX Runtime takes them."""
    batch = make_batch(rows, np.arange(rows.num_rows), length, 0)
    return {name: batch[name].astype(np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}


def outputs(model: Any, rows: TokenArrays, length: int = 16) -> Any:
    """Computes the outputs of a model of transformers for rows."""
    with torch.no_grad():
        return model.eval()(**{name: torch.from_numpy(values) for name, values in inputs_of(rows, length).items()})


def test_an_exported_model_predicts_what_its_run_predicted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run, system = make_run(tmp_path / "run", "test")
    config = dataclasses.replace(
        run.config, finetune=dataclasses.replace(run.config.finetune, keep_parameters=True, seeds=(5,))
    )
    run = Run(config, run.workdir, run.progress)
    finetuning.finetuned_system(run, system)
    record = write_record(run.workdir, ENCODER, MNLI, MISMATCHED, unscored=AX)
    # MNLI-mm and AX are predicted by the model of MNLI.
    for task, split in ((MNLI, "validation"), (MISMATCHED, "validation"), (AX, "test")):
        directory = tmp_path / task
        capfd.readouterr()
        onnx = [] if task == MISMATCHED else ["--no_onnx"]
        assert main(["export", str(record), f"--task={task}", f"--to={directory}", *onnx]) == 0
        captured = capfd.readouterr()
        assert "mobilebert fine-tuned on MNLI-m with seed 5" in captured.out
        assert captured.err == ""
        model = transformers.AutoModelForSequenceClassification.from_pretrained(directory)
        assert type(model).__name__ == "MobileBertForSequenceClassification"
        assert model.config.id2label == dict(enumerate(get_task(MNLI).label_names))
        found = outputs(model, run.rows("tasks", task, split), 24).logits.argmax(dim=1).tolist()
        written = json.loads(finetuning.prediction_path(run, "toy", task, 5).read_text())
        assert found == written["result"]["predictions"]
        if onnx == []:
            labels = run.rows("tasks", task, split).features["label"]
            assert f" MiB, {100 * np.mean(found == labels):.2f}\n" in captured.out
            assert "development set of MNLI-mm, 30 examples, accuracy in percent:" in captured.out
        assert len(set(found)) > 1
    card = (tmp_path / AX / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card and "entailment, neutral, contradiction" in card


@pytest.mark.parametrize(
    ("encoder", "task", "architecture"),
    [
        (BERT, "glue_sst2_v1", "BertForSequenceClassification"),
        (BERT, "squad_v1_1_v1", "BertForQuestionAnswering"),
        (ENCODER, "glue_stsb_v1", "MobileBertForSequenceClassification"),
        (ENCODER, "squad_v2_0_v1", "MobileBertForQuestionAnswering"),
    ],
)
def test_every_kind_of_head(
    tmp_path: Path, encoder: EncoderConfig, task: str, architecture: str, capfd: pytest.CaptureFixture[str]
) -> None:
    info = get_task(task)
    record, params = keep(tmp_path / "run", encoder, task)
    directory = tmp_path / "exported"
    assert main(["export", str(record), f"--task={task}", f"--to={directory}"]) == 0
    captured = capfd.readouterr()
    assert captured.err == "" and "onnx/model.onnx: opset" in captured.out
    assert f"not scored: the run's folder has no usable arrays of {task}" in captured.out
    rows = random_rows(5)
    expected = predict(encoder, params, info, rows, 16, 0)
    model = getattr(transformers, architecture).from_pretrained(directory)
    assert model.config.architectures == [architecture]
    theirs = outputs(model, rows)
    session = onnxruntime.InferenceSession(str(directory / "onnx" / "model.onnx"), providers=["CPUExecutionProvider"])
    shapes = {entry.name: entry.shape for entry in session.get_outputs()}
    answers = session.run(None, inputs_of(rows))
    real = inputs_of(rows)["attention_mask"] > 0
    if info.kind == "span":
        assert shapes == {"start_logits": ["batch", "length"], "end_logits": ["batch", "length"]}
        for side, name in enumerate(shapes):
            np.testing.assert_allclose(theirs[name].numpy()[real], expected[..., side][real], atol=1e-5)
            np.testing.assert_allclose(answers[side][real], expected[..., side][real], atol=1e-4)
        return
    assert shapes == {"logits": ["batch", info.num_labels]}
    np.testing.assert_allclose(theirs.logits.numpy(), expected.reshape(5, -1), atol=1e-5)
    np.testing.assert_allclose(answers[0], expected.reshape(5, -1), atol=1e-4)
    problem = "regression" if info.kind == "regression" else "single_label_classification"
    assert model.config.problem_type == problem
    if task == "glue_sst2_v1":
        assert model.config.id2label == {0: "negative", 1: "positive"}
        assert "answers one of negative, positive" in (directory / "README.md").read_text()


def test_what_cannot_be_exported_with_a_head_gets_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, _ = keep(tmp_path / "run", BERT, "glue_sst2_v1")

    def refused(task: str, path: Path = record) -> str:
        assert main(["export", str(path), f"--task={task}", f"--to={tmp_path / 'out'}"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and str(path) in error
        assert not (tmp_path / "out").exists()
        return error

    assert "has no task 'glue_sst_v1': did you mean glue_sst2_v1?" in refused("glue_sst_v1")
    folder = tmp_path / "run" / "evaluation" / "toy" / "glue_sst2_v1"
    (folder / "seed4.json").write_text('{"fingerprint": "another"}')
    assert "are not those of its predictions" in refused("glue_sst2_v1")
    (folder / "parameters.json").unlink()
    assert "--gin.FinetuneConfig.keep_parameters=True" in refused("glue_sst2_v1")


def test_a_pooler_that_transformers_lacks_is_not_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The encoder alone, and a head that reads all tokens, have no use for a pooler.
    for task, code in (("squad_v1_1_v1", 0), ("glue_sst2_v1", 2)):
        record, _ = keep(tmp_path / task, dataclasses.replace(BERT, pooler="none"), task)
        assert main(["export", str(record), f"--task={task}", f"--to={tmp_path / task / 'out'}", "--no_onnx"]) == code
    error = capsys.readouterr().err
    assert "pooler is 'none'; the BertForSequenceClassification of transformers has 'tanh'" in error
    assert not (tmp_path / "glue_sst2_v1" / "out").exists()


def test_a_model_of_an_own_task_has_the_labels_of_the_record(tmp_path: Path) -> None:
    """The catalogue lacks the task; its definition is in the record."""
    info = resolve(own_task(write_stars(tmp_path / "stars.tsv"), label_column="stars"))
    model = finetune.task_model(BERT, finetune.task_head(info))
    params = trained_like(init_tree(model, BERT, 3, num_inputs=3))
    folder = tmp_path / "run" / "evaluation" / "toy" / info.name
    checkpoints.save(folder / "parameters", finetune.without_unused_outputs(params, info))
    for name in ("parameters.json", "seed4.json"):
        (folder / name).write_text(json.dumps({"fingerprint": "t", "result": {"seed": 4}}))
    path = write_record(tmp_path / "run", BERT, info.name)
    record = read(path)
    (scored,) = record.tasks
    write(path, record.model_copy(update={"tasks": [scored.model_copy(update={"definition": own_definition()})]}))
    assert main(["export", str(path), f"--task={info.name}", f"--to={tmp_path / 'out'}", "--no_onnx"]) == 0
    settings = json.loads((tmp_path / "out" / "config.json").read_text())
    assert list(settings["id2label"].values()) == list(STARS)
    assert "| Stars (mine_v1) | accuracy |" in (tmp_path / "out" / "README.md").read_text()
