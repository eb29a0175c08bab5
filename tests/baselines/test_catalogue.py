"""The published baselines, and models in and out of Hugging Face directories through the command line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from baselines import importer
from baselines.__main__ import main
from baselines.catalogue import baselines, read
from benchmark.export import checkpoint_files
from benchmark.models.formulas import num_parameters
from tasks.scoring.averages import average
from tasks.system.errors import InputError
from tasks.system.repository import REPOSITORY

ALL = baselines()


# Those of this repository; a folder that somebody adds is no failure.
KNOWN = {
    "autodistill_20_6m",
    "autodistill_22_8m",
    "autodistill_28_5m",
    "bert_base",
    "bert_large",
    "distilbert6",
    "electra_small",
    "ib_bert_large",
    "minilm_l12_h384",
    "minilm_l6_h384",
    "mobilebert",
    "mobilebert_edgetpu_m",
    "mobilebert_edgetpu_s",
    "mobilebert_edgetpu_xs",
    "mobilebert_tiny",
    "mpnet_base",
    "nas_bert60",
    "roberta_base",
    "tinybert4",
    "tinybert6",
}


def test_the_baselines_are_there() -> None:
    assert set(ALL) >= KNOWN


def test_masked_lm_accuracy_is_no_score_of_a_task() -> None:
    """The four rows of one table (MobileBERT-EdgeTPU), and no other publication has one."""
    found = {name: b.masked_lm_accuracy.value for name, b in ALL.items() if b.masked_lm_accuracy and name in KNOWN}
    sizes = {"xs": 71.2, "s": 72.8, "m": 73.8}
    assert found == {"mobilebert": 71.4} | {f"mobilebert_edgetpu_{size}": value for size, value in sizes.items()}


@pytest.mark.parametrize("name", [name for name, b in ALL.items() if b.architecture and b.published_parameters])
def test_published_parameter_counts_fit_the_architecture(name: str) -> None:
    baseline = ALL[name]
    assert baseline.encoder and baseline.published_parameters
    counted = num_parameters(baseline.encoder)
    pooler = baseline.encoder.hidden_size * (baseline.encoder.hidden_size + 1)
    # Papers round, and differ in whether they count pooler and heads.
    assert (
        0.96 <= counted / baseline.published_parameters.value <= 1.03
        or abs(counted + pooler - baseline.published_parameters.value) < 0.02 * baseline.published_parameters.value
    )


@pytest.mark.parametrize(
    ("name", "id", "value"),
    [
        ("bert_base", "col9", 79.60),
        ("bert_large", "col9", 82.08),
        ("tinybert6", "col9", 79.44),
        ("tinybert4", "col9", 77.04),
        ("distilbert6", "col9", 76.78),
        ("mobilebert", "col9", 78.82),
        ("mobilebert_tiny", "col9", 77.00),
        ("nas_bert60", "task8_m", 81.11),
    ],
)
def test_averages_follow_from_the_scores(name: str, id: str, value: float) -> None:
    """The values of the reference table, from the scores in the file."""
    scores: dict[str, dict[str, float]] = {}
    for score in ALL[name].scores:
        if score.split == "test":
            scores.setdefault(score.task, {})[score.metric] = score.value
    assert average(id, scores) == pytest.approx(value, abs=0.005)


def test_every_folder_has_a_readme_and_every_number_a_source() -> None:
    folder = REPOSITORY / "baselines"
    for name, baseline in ALL.items():
        if name in KNOWN:
            assert baseline.title in (folder / name / "README.md").read_text()
        entries: list[Any] = [*baseline.scores, *baseline.averages, *baseline.latency]
        entries += [baseline.masked_lm_accuracy] if baseline.masked_lm_accuracy else []
        assert all(entry.source for entry in entries)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "other"}, "the folder's name 'bert_base' is expected"),
        ({"surprise": 1}, "surprise = 1: unknown field$"),
        (
            {"citation": {"title": "T", "authors": "A", "yaer": 2019, "url": "https://a.b"}},
            r"citation\.yaer = 2019: unknown field; did you mean 'year'\?$",
        ),
        ({"citation": {"title": "T", "authors": "A", "url": "https://a.b"}}, r"citation\.year is missing$"),
        ({"licence": 3}, "licence"),
        ({"masked_lm_accuracy": {"value": 171.0, "source": "s", "note": ""}}, "masked_lm_accuracy"),
        ({"architecture": {"intra_bottleneck_size": 30, "num_attention_heads": 4}}, "num_attention_heads"),
        (
            {"scores": [{"task": "glue_x_v1", "split": "test", "metric": "f1", "value": 1.0, "source": "s"}]},
            "glue_x_v1",
        ),
        (
            {"averages": [{"average": "x", "split": "test", "value": 1.0, "source": "s", "note": ""}]},
            "accepted: unknown",
        ),
    ],
)
def test_bad_files_get_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = tmp_path / "bert_base"
    folder.mkdir()
    good = json.loads((REPOSITORY / "baselines" / "bert_base" / "baseline.json").read_text())
    (folder / "baseline.json").write_text(json.dumps(good | change))
    with pytest.raises(InputError, match=message) as caught:
        read(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema_version": 1', '"schema_version": NaN', "not strict JSON: NaN is not a finite number"),
        ('"schema_version": 1', '"schema_version": 1, "schema_version": 1', "'schema_version' is given twice"),
    ],
)
def test_only_strict_json_is_read(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (REPOSITORY / "baselines" / "bert_base" / "baseline.json").read_text()
    assert text.count(old) == 1
    (tmp_path / "bert_base").mkdir()
    (tmp_path / "bert_base" / "baseline.json").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message):
        read(tmp_path / "bert_base")


def test_an_added_folder_may_have_a_hyphen_and_no_published_size(tmp_path: Path) -> None:
    """The rule of names is that of `BaselineConfig.name`."""
    good = json.loads((REPOSITORY / "baselines" / "bert_base" / "baseline.json").read_text())
    for name, accepted in (("my-model_1.0", True), ("My", False), ("-a", False), ("a" * 61, False)):
        (tmp_path / name).mkdir()
        text = json.dumps(good | {"name": name, "published_parameters": None})
        (tmp_path / name / "baseline.json").write_text(text)
        if accepted:
            assert read(tmp_path / name).published_parameters is None
        else:
            with pytest.raises(InputError, match="name.*should match pattern"):
                read(tmp_path / name)


def test_list_prints_every_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ALL)
    assert "24.58M" in printed
    licences = {line.split()[0]: line.split()[-2] for line in printed.splitlines()[1:-1]}
    assert licences == {name: baseline.licence or "-" for name, baseline in ALL.items()}


def test_import_keeps_the_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    published = ALL["mobilebert"].encoder
    assert published
    small = dataclasses.replace(
        published,
        vocab_size=40,
        hidden_size=16,
        embedding_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intra_bottleneck_size=8,
        intermediate_size=12,
        max_position_embeddings=8,
    )
    shapes = checkpoint_files.parameter_shapes(small, ("masked_lm",), {})
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), shapes)
    checkpoint_files.write(tmp_path / "theirs", small, params)
    (tmp_path / "theirs" / "vocab.txt").write_text("[PAD]\n")
    # The published size is too large for a quick test: the baseline is made small instead.
    shrunk = ALL["mobilebert"].model_copy(update={"architecture": dataclasses.asdict(small)})
    line = importer.import_checkpoint(shrunk, tmp_path / "theirs", tmp_path / "ours")
    assert "masked_lm" in line
    kept = checkpoint_files.read(tmp_path / "ours")
    assert kept.encoder == small and kept.heads == ("masked_lm",)
    assert jax.tree.all(jax.tree.map(np.array_equal, kept.params, params))
    assert (tmp_path / "ours" / "vocab.txt").read_text() == "[PAD]\n"
    with pytest.raises(InputError, match="is the folder of the checkpoint"):
        importer.import_checkpoint(shrunk, tmp_path / "ours", tmp_path / "ours")
    arguments = ["import", "mobilebert", f"--checkpoint={tmp_path / 'theirs'}", f"--to={tmp_path / 'x'}"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "is no MobileBERT: vocab_size 40 (30522)" in error
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["import", "mobilbert", "--checkpoint=x"], ["unknown baseline 'mobilbert'", "did you mean mobilebert"]),
        (["import", "zzz", "--checkpoint=x"], ["unknown baseline 'zzz'", "bert_base", "tinybert6"]),
        (["import", "nas_bert60", "--checkpoint=x"], ["nas_bert60: has no architecture"]),
        (["import", "bert_base", "--checkpoint={}/none"], ["{}/none/config.json: missing", "model.safetensors"]),
        (["import", "bert_base", "--checkpoint={}"], ["{}/config.json: missing", "model.safetensors"]),
        (["export", "{}/none.json", "--to={}/out"], ["{}/none.json: cannot be read", "No such file"]),
        (["export", "{}", "--to={}/out"], ["{}: cannot be read"]),
        (["export", "{}", f"--to={__file__}/x"], [f"--to={__file__}/x: expected a folder"]),
        (["export", "{}", "--to="], ["--to: expected a path, found ''"]),
        (["export", "{}"], ["the following arguments are required: --to"]),
        (["export", "{}", "--to={}", "--no_onx"], ["unknown argument '--no_onx'; did you mean '--no_onnx'?"]),
        (["exprt"], ["invalid choice: 'exprt' (choose from 'list', 'import', 'measure', 'export')"]),
    ],
)
def test_mistakes_on_the_command_line_get_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], parts: list[str]
) -> None:
    assert main([word.format(tmp_path) for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    for part in parts:
        assert part.format(tmp_path) in captured.err
    assert list(tmp_path.iterdir()) == []
