"""A record's model as a Hugging Face directory: it loads, computes and tokenizes the same, and has a model card."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
import torch
import transformers

from baselines.__main__ import main
from benchmark.config import to_dict
from benchmark.models.heads import MaskedLM
from benchmark.records import record as records
from benchmark.records.record import write
from benchmark.training import checkpoints
from benchmark.training.initial import init_tree
from tasks.encoding import tokenizer_files, vocabulary
from tests.helpers.board_records import make_block, make_record, make_task
from tests.helpers.encoders import small_encoder
from tests.helpers.tokenizer_directories import KINDS

WORDS = ["a", "dog", "cat", "sees", "##s", "the", "run", ".", "##ning"]
STUDENT = small_encoder(
    vocab_size=len(vocabulary.SPECIAL_TOKENS) + len(WORDS),
    num_hidden_layers=2,
    num_feedforward_networks=2,
    max_position_embeddings=12,
    initializer_range=0.3,
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a finished run, as far as an export reads it; returns the record."""
    workdir = tmp_path / "run"
    words = workdir / "data" / "vocabulary-1.txt"
    words.parent.mkdir(parents=True)
    vocabulary.write([*vocabulary.SPECIAL_TOKENS, *WORDS], words)
    digest = vocabulary.load(words).digest
    (words.parent / "data.json").write_text(
        json.dumps({"vocabulary": {"path": words.name, "digest": digest, "pad_id": 0}})
    )
    (workdir / "config.json").write_text(json.dumps({"fingerprint": "f"}))
    checkpoints.save(workdir / "students" / "found-x" / "params", parameters())
    record = make_record("found-x", make_task(71.25), latency=(make_block(1.5e-3),))
    assert record.provenance
    provenance = record.provenance.model_copy(update={"vocabulary_digest": digest, "config_fingerprint": "f"})
    system = record.system.model_copy(update={"encoder": to_dict(STUDENT)})
    path = workdir / "results" / "found-x.json"
    write(path, record.model_copy(update={"provenance": provenance, "system": system}))
    return path


def parameters() -> Any:
    return init_tree(MaskedLM(STUDENT), STUDENT, 3, num_inputs=4)


def test_an_exported_student_works_outside_this_project(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "exported"
    assert main(["export", str(run), f"--to={directory}"]) == 0
    captured = capsys.readouterr()
    assert "mobilebert with masked-LM head" in captured.out and "model.onnx: opset" in captured.out
    # No progress of the libraries that read and trace the model.
    assert captured.err == ""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForMaskedLM.from_pretrained(directory).eval()
    texts = ["The dog sees a cat.", "Running dogs!"]
    batch = tokenizer(texts, padding=True, return_tensors="np")
    ours = vocabulary.tokenizer(run.parents[1] / "data" / "vocabulary-1.txt")
    for text, ids in zip(texts, batch["input_ids"], strict=True):
        expected = [2, *ours.encode(text, add_special_tokens=False).ids, 3]
        assert ids[: len(expected)].tolist() == expected
    positions = jnp.broadcast_to(jnp.arange(batch["input_ids"].shape[1]), batch["input_ids"].shape)
    inputs = [jnp.asarray(batch[name]) for name in ("input_ids", "attention_mask", "token_type_ids")]
    logits, *_ = jax.jit(MaskedLM(STUDENT).apply)({"params": parameters()}, *inputs, positions)
    real = batch["attention_mask"] > 0
    with torch.no_grad():
        theirs = model(**{name: torch.from_numpy(values) for name, values in batch.items()}).logits.numpy()
    np.testing.assert_allclose(np.asarray(logits)[real], theirs[real], atol=1e-5)
    session = onnxruntime.InferenceSession(str(directory / "onnx" / "model.onnx"), providers=["CPUExecutionProvider"])
    names = {entry.name for entry in session.get_inputs()}
    (found,) = session.run(["logits"], {name: batch[name].astype(np.int64) for name in names})
    np.testing.assert_allclose(found[real], theirs[real], atol=1e-4)
    # The encoder alone loads from the same folder.
    transformers.AutoModel.from_pretrained(directory)


@pytest.mark.parametrize("kind", KINDS)
def test_any_tokenizer_is_exported_with_its_ids(kind: str, run: Path, tmp_path: Path) -> None:
    given = KINDS[kind](tmp_path / kind)
    read = vocabulary.load(given)
    kept = run.parents[1] / "data" / f"vocabulary-{read.digest[:12]}"
    kept.mkdir()
    tokenizer_files.write(tokenizer_files.read(given), kept)
    (kept.parent / "data.json").write_text(json.dumps({"vocabulary": {"path": kept.name, "digest": read.digest}}))
    record = records.read(run)
    assert record.provenance
    provenance = record.provenance.model_copy(update={"vocabulary_digest": read.digest})
    write(run, record.model_copy(update={"provenance": provenance}))
    directory = tmp_path / "exported"
    assert main(["export", str(run), f"--to={directory}", "--no_onnx"]) == 0
    theirs = transformers.AutoTokenizer.from_pretrained(directory)
    assert theirs.model_max_length == STUDENT.max_position_embeddings
    texts = ["The Café, unhappily 東京 <mask> [MASK] 😀", " the  cats\n"]
    expected = transformers.AutoTokenizer.from_pretrained(given)(texts, texts[::-1])["input_ids"]
    assert theirs(texts, texts[::-1])["input_ids"] == expected
    config = json.loads((directory / "config.json").read_text())
    assert config["pad_token_id"] == theirs.pad_token_id == read.pad_id


def test_the_card_says_what_the_record_says(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), f"--to={tmp_path / 'out'}", "--no_onnx"]) == 0
    assert not (tmp_path / "out" / "onnx").exists()
    card = (tmp_path / "out" / "README.md").read_text()
    for part in ("| intra_bottleneck_size | 8 |", "71.25", "1.500", "mobilebert", "Apache", "python run_benchmark.py"):
        assert part in card
    assert card.startswith("---\n") and card.count("---\n") >= 2


def test_what_cannot_be_exported_gets_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*words: str) -> str:
        assert main(["export", *words]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    target = f"--to={tmp_path / 'out'}"
    elsewhere = tmp_path / "found-x.json"
    elsewhere.write_bytes(run.read_bytes())
    assert "export from the folder of the run" in refused(str(elsewhere), target)
    settings = run.parents[1] / "config.json"
    settings.write_text(json.dumps({"fingerprint": "g"}))
    assert "run of other settings" in refused(str(run), target)
    settings.write_text("{")
    assert f"{settings}: missing or damaged" in refused(str(run), target)
    settings.write_text(json.dumps({"fingerprint": "f"}))
    index = run.parents[1] / "data" / "data.json"
    text = index.read_text()
    index.write_text("[]")
    assert f"{index}: missing or damaged" in refused(str(run), target)
    index.write_text(text)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    assert "holds files already" in refused(str(run), f"--to={tmp_path / 'full'}")
    value = json.loads(run.read_text())

    def refused_as(**changes: Any) -> str:
        other = copy.deepcopy(value)
        other["system"]["encoder"] |= changes
        run.write_text(json.dumps(other))
        return refused(str(run), target)

    # The parameters are there, and those of another architecture.
    parameters = run.parents[1] / "students" / "found-x" / "params"
    for changes in ({"intermediate_size": 20}, {"num_hidden_layers": 3}, {"num_feedforward_networks": 1}):
        assert f"the parameters at {parameters} are of another architecture: " in refused_as(**changes)
    # transformers has no class for the architecture.
    assert "layer_norm_eps" in refused_as(normalization_type="layer_norm")
    assert "cannot run" in refused_as(key_query_shared_bottleneck=False)
    run.write_text(json.dumps(value))
    shutil.rmtree(parameters)
    assert f"no parameters at {parameters}" in refused(str(run), target)
    assert not (tmp_path / "out").exists()
