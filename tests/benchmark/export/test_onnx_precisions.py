"""int8 and float16 ONNX files: close to float32, smaller, and scored as scikit-learn scores their answers."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import sklearn.metrics

from baselines.__main__ import main
from benchmark.config import EncoderConfig
from benchmark.evaluation.predict import predict
from benchmark.export import onnx_precisions, onnx_scores
from benchmark.export.onnx_scores import DevelopmentSet, GraphFile, GraphFiles
from tasks.arrays import token_arrays
from tasks.arrays.write import array_directory
from tasks.catalogue import get_task
from tests.helpers.encoders import small_bert, small_encoder
from tests.helpers.kept_models import keep

# Wide enough that weights outweigh the nodes of a graph.
SIZES: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
BERT = small_bert(**SIZES, embedding_size=64)
MOBILEBERT = small_encoder(**SIZES, embedding_size=32, intra_bottleneck_size=32)
PRECISIONS = ("float32", "int8", "float16")
ROWS = 60


def write_rows(directory: Path, labels: np.ndarray, length: int = 16) -> token_arrays.TokenArrays:
    """Writes rows of different lengths."""
    rng = np.random.default_rng(0)
    used = np.arange(length) < rng.integers(3, length + 1, (len(labels), 1))
    batch = {
        "input_ids": rng.integers(5, 40, (len(labels), length)) * used,
        "token_type_ids": (np.arange(length) > 6) * used,
        "label": labels,
    }
    dtypes: dict[str, Any] = {"input_ids": np.uint16, "token_type_ids": np.uint8, "label": labels.dtype}
    with array_directory(directory, dtypes) as writer:
        writer.append({name: values.astype(dtypes[name]) for name, values in batch.items()})
    return token_arrays.load(directory)


def add_rows(workdir: Path, task: str, split: str, labels: np.ndarray) -> token_arrays.TokenArrays:
    """Adds the rows of a task to a run."""
    rows = write_rows(workdir / "data" / f"{task}-{split}", labels)
    index = workdir / "data" / "data.json"
    values = json.loads(index.read_text())
    index.write_text(json.dumps(values | {"tasks": {task: {split: rows.directory.name}}}))
    return rows


def answers(path: Path, rows: token_arrays.TokenArrays) -> np.ndarray:
    """Runs a classifier over rows, one by one, with one token of padding."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert {entry.type for entry in session.get_inputs()} == {"tensor(int64)"}
    assert [entry.type for entry in session.get_outputs()] == ["tensor(float)"]
    found = []
    for ids, types in zip(rows.features["input_ids"], rows.features["token_type_ids"], strict=True):
        length = int(np.flatnonzero(ids)[-1]) + 1
        feed = {"input_ids": ids, "token_type_ids": types, "attention_mask": np.arange(len(ids)) < length}
        given = {name: values[None, : length + 1].astype(np.int64) for name, values in feed.items()}
        (logits,) = session.run(None, given)
        found.append(logits[0])
    return np.stack(found)


@pytest.mark.parametrize("encoder", [BERT, MOBILEBERT], ids=["bert", "mobilebert"])
def test_small_files_are_scored_as_scikit_learn_scores_them(
    encoder: EncoderConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = "glue_mrpc_v1"
    record, params = keep(tmp_path / "run", encoder, task)
    # A fifth of the labels contradict the model, so that scores are neither 0 nor 100.
    unlabelled = write_rows(tmp_path / "unlabelled", np.zeros(ROWS, np.int32))
    logits = predict(encoder, params, get_task(task), unlabelled, 16, 0)
    middle = np.median(logits[:, 1] - logits[:, 0])
    flipped = np.arange(ROWS) % 5 == 0
    labels = ((logits[:, 1] - logits[:, 0] > middle) ^ flipped).astype(np.int32)
    rows = add_rows(tmp_path / "run", task, "validation", labels)
    directory = tmp_path / "exported"
    words = ["export", str(record), f"--task={task}", f"--to={directory}", "--onnx=int8,float16"]
    assert main(words) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    files = {name: directory / onnx_precisions.FILES[name] for name in PRECISIONS}
    assert sorted(path.name for path in (directory / "onnx").iterdir()) == sorted(path.name for path in files.values())
    found = {name: answers(path, rows) for name, path in files.items()}
    np.testing.assert_allclose(found["float32"], logits, atol=1e-4)
    largest = np.abs(logits).max()
    # float16 has 11 bits, weights here 7.
    assert 0 < np.abs(found["float16"] - logits).max() < 0.01 * largest
    assert 0 < np.abs(found["int8"] - logits).max() < 0.25 * largest
    sizes = {name: path.stat().st_size for name, path in files.items()}
    assert sizes["float16"] < 0.75 * sizes["float32"] and sizes["int8"] < 0.75 * sizes["float32"]
    card = (directory / "README.md").read_text()
    scores = {n: 100 * sklearn.metrics.f1_score(labels, values.argmax(1)) for n, values in found.items()}
    for name, path in files.items():
        size, value = f"{sizes[name] / 2**20:.2f}", f"{scores[name]:.2f}"
        change = "-" if name == "float32" else f"{scores[name] - scores['float32']:+.2f}"
        assert f"| onnx/{path.name} | {name} | {size} | {value} | {change} |" in card
        assert f"onnx/{path.name}: {size} MiB, {value}" in captured.out
    assert f"Development set of MRPC, {ROWS} examples" in card and "f1 in percent" in card
    # Other shapes than that of the trace, and padding that is as good as no padding.
    for path in files.values():
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [entry.name for entry in session.get_inputs()]
        for batch, length in ((1, 3), (5, 24)):
            shape = (batch, length)
            (values,) = session.run(None, {name: np.ones(shape, np.int64) for name in names})
            assert values.shape == (batch, 2) and np.isfinite(values).all()


@pytest.mark.parametrize(
    ("task", "encoder"),
    [("glue_stsb_v1", MOBILEBERT), ("squad_v1_1_v1", BERT), ("squad_v1_1_v1", MOBILEBERT), ("glue_rte_v1", BERT)],
)
def test_rows_alone_give_what_the_run_gives_in_batches(task: str, encoder: EncoderConfig, tmp_path: Path) -> None:
    """MobileBERT's input reads the token after the last, so that padding is not without effect."""
    info = get_task(task)
    record, params = keep(tmp_path / "run", encoder, task)
    directory = tmp_path / "exported"
    assert main(["export", str(record), f"--task={task}", f"--to={directory}"]) == 0
    rows = write_rows(tmp_path / "rows", np.zeros(9, np.float32))
    found = onnx_scores.predict(directory / "onnx" / "model.onnx", DevelopmentSet(info, rows, 0, 16))
    expected = predict(encoder, params, info, rows, 16, 0)
    if info.kind == "span":
        real = np.asarray(rows.features["input_ids"])[:, : found.shape[1]] > 0
        far = ~real & ~np.roll(real, 1, axis=1)
        assert far.any() and np.isneginf(found[far]).all()
        found, expected = found[real], expected[:, : found.shape[1]][real]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_files_without_a_labelled_set_are_made_and_not_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = "glue_sst2_v1"
    record, _ = keep(tmp_path / "run", BERT, task)
    add_rows(tmp_path / "run", task, "test", np.full(3, -1, np.int32))
    words = ["export", str(record), f"--task={task}", f"--to={tmp_path / 'out'}", "--onnx=float16,float16"]
    assert main(words) == 0
    assert "not scored: glue_sst2_v1 has no labelled development set" in capsys.readouterr().out
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| onnx/model_fp16.onnx | float16 |" in card
    assert "Not scored: glue_sst2_v1 has no labelled development set." in card
    assert not (tmp_path / "out" / "onnx" / "model_quantized.onnx").exists()


def graphs(*scores: float) -> GraphFiles:
    files = [
        GraphFile(name, onnx_precisions.FILES[name], 2**20, {"accuracy": score})
        for name, score in zip(PRECISIONS, scores, strict=True)
    ]
    return GraphFiles(tuple(files), "SST-2", "accuracy", 100, 80.0)


def test_a_loss_of_a_point_is_said_in_words() -> None:
    assert graphs(80.0, 79.01, 80.5).losses() == []
    assert graphs(80.0, 78.5, 79.0).losses() == [
        "onnx/model_quantized.onnx is 1.50 points of accuracy below onnx/model.onnx.",
        "onnx/model_fp16.onnx is 1.00 points of accuracy below onnx/model.onnx.",
    ]
    lines = graphs(80.0, 78.5, 80.25).lines()
    assert lines[0] == "development set of SST-2, 100 examples, accuracy in percent, in the run 80.00:"
    assert lines[1:3] == [
        "  onnx/model.onnx: 1.00 MiB, 80.00",
        "  onnx/model_quantized.onnx: 1.00 MiB, 78.50 (-1.50)",
    ]
    assert len(lines) == 5


def test_a_file_that_cannot_be_made_is_one_line_and_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = keep(tmp_path / "run", dataclasses.replace(BERT, num_hidden_layers=1), "glue_sst2_v1")
    words = ["export", str(record), "--task=glue_sst2_v1", f"--to={tmp_path / 'out'}"]

    def refused(precision: str) -> str:
        assert main([*words, f"--onnx={precision}"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and onnx_precisions.FILES[precision] in error
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
        return error

    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("an operator\nthat it does not know")

    with monkeypatch.context() as patched:
        patched.setattr("onnxruntime.quantization.quantize_dynamic", fail)
        assert "makes no int8 graph of this model: an operator; export without int8" in refused("int8")
    monkeypatch.setattr(onnx_precisions, "_difference", lambda *_: float("nan"))
    assert "exceeds the range of float16; export without float16" in refused("float16")


def test_an_export_that_is_told_to_end_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, _ = keep(tmp_path / "run", dataclasses.replace(BERT, num_hidden_layers=1), "glue_sst2_v1")

    def end(directory: Path) -> str:
        assert (directory / "model.safetensors").is_file()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
        return ""

    monkeypatch.setattr("benchmark.export.exporter.export_onnx", end)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="143"):
        main(["export", str(record), "--task=glue_sst2_v1", f"--to={tmp_path / 'out'}"])
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--onnx=int4"], "--onnx=int4: did you mean int8?"),
        (["--onnx="], "--onnx: expected some of float32, int8, float16, or --no_onnx"),
        (["--onnx=int8", "--no_onnx"], "--no_onnx, --onnx=int8: expected one of the two"),
    ],
)
def test_mistaken_precisions_are_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "none.json", f"--to={tmp_path / 'out'}", *words]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
