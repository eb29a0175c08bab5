"""The checkpoints of a run: what is read from them, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.cli.gin_loader import load_run_config
from benchmark.config import BaselineConfig, CheckpointConfig, ConfigError, EncoderConfig, fingerprint
from benchmark.export.start import checkpoint_notes, completed, digest_of, file_digests, provenance, read_start
from benchmark.models.hugging_face import CheckpointError
from tasks.system.repository import REPOSITORY
from tests.helpers.hugging_face_models import random_parameters, write_model, write_vocabulary

RUN = str(REPOSITORY / "tests" / "e2e" / "checkpoint.gin")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two directories: `teacher`, without masked-LM head, and `subject`, with one."""
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "teacher")
    write_model(folder / "subject", "masked_lm", seed=1, hidden_size=12, embedding_size=12, intermediate_size=16)
    return folder


def run_config(models: Path, *bindings: str) -> Any:
    given = [f"TEACHER={str(models / 'teacher')!r}", f"SUBJECT={str(models / 'subject')!r}", *bindings]
    return load_run_config([RUN], given)


def test_architectures_vocabulary_and_digests_come_from_the_directories(models: Path) -> None:
    config: Any = completed(run_config(models))
    values = json.loads((models / "subject" / "config.json").read_text())
    for baseline in config.baselines[:2]:
        assert (baseline.encoder.hidden_size, baseline.encoder.num_hidden_layers) == (12, values["num_hidden_layers"])
        assert baseline.checkpoint.sha256 == digest_of(file_digests(baseline.checkpoint))
    assert config.teacher.architecture.hidden_size == 24
    assert (config.data.vocabulary_size, config.data.request().vocabulary) == (64, str(models / "teacher"))
    described = provenance(config)
    assert set(described) == {"teacher", "published", "continued"}
    assert described["teacher"]["directory"] == "teacher"
    assert {"config.json", "model.safetensors", "vocab.txt"} <= set(described["teacher"]["files"])


def test_the_fingerprint_has_the_content_and_not_the_place(models: Path, tmp_path: Path) -> None:
    here = completed(run_config(models))
    shutil.copytree(models, tmp_path / "elsewhere")
    there = completed(run_config(tmp_path / "elsewhere", "CheckpointConfig.revision='main'"))
    assert fingerprint(there) == fingerprint(here)
    write_model(tmp_path / "elsewhere" / "teacher", seed=5)
    assert fingerprint(completed(run_config(tmp_path / "elsewhere"))) != fingerprint(here)


def test_the_parameters_are_those_of_the_file(models: Path) -> None:
    config: Any = completed(run_config(models))
    found = read_start(config.baselines[0].checkpoint)
    expected = random_parameters(config.baselines[0].encoder, "masked_lm", seed=1)
    assert found.heads == ("masked_lm",)
    np.testing.assert_array_equal(
        found.params["encoder"]["layers"]["query"]["kernel"], expected["encoder"]["layers"]["query"]["kernel"]
    )


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("TEACHER='/nowhere'", r"directory = '/nowhere'.*there is no folder /nowhere"),
        ("TEACHER=''", "directory = ''.*a Hugging Face directory"),
        ("TEACHER='$NOT_SET'", "environment variable NOT_SET in it is not set"),
        ("TEACHER='~nobody-of-this-name/model'", "there is no folder ~nobody-of-this-name/model"),
        ("teacher/CheckpointConfig.sha256='" + "0" * 64 + "'", "sha256 = '0000.*the digest of the files"),
        (
            "TeacherConfig.encoder=@plain/EncoderConfig()",
            r"TeacherConfig.encoder = 'num_hidden_layers 1 \(2\).*in brackets",
        ),
        ("DataConfig.vocabulary='train'", "DataConfig.vocabulary = 'train'.*'checkpoint' or a path"),
    ],
)
def test_refused(models: Path, binding: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        completed(run_config(models, binding))


def test_a_spelt_out_architecture_must_agree(models: Path) -> None:
    config = run_config(models)
    complete: Any = completed(config)
    right = complete.teacher.architecture
    wrong = dataclasses.replace(right, num_attention_heads=2)
    for encoder, refused in ((right, False), (wrong, True)):
        teacher = dataclasses.replace(config.teacher, encoder=encoder)
        changed = dataclasses.replace(config, teacher=teacher)
        if refused:
            with pytest.raises(ConfigError, match=r"num_attention_heads 2 \(3\)"):
                completed(changed)
        else:
            complete = completed(changed)
            assert complete.teacher.architecture == right


def test_different_vocabularies_are_refused(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "models")
    vocabulary = tmp_path / "models" / "subject" / "vocab.txt"
    vocabulary.write_text(vocabulary.read_text().replace("[unused0]", "other"))
    with pytest.raises(ConfigError, match="one vocabulary for teacher and students.*checkpoint of published"):
        completed(run_config(tmp_path / "models"))


def test_a_damaged_directory_is_one_line(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "models")
    (tmp_path / "models" / "teacher" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="config.json: ") as caught:
        completed(run_config(tmp_path / "models"))
    assert "\n" not in str(caught.value)


def test_parts_that_do_not_go_together_are_refused() -> None:
    checkpoint = CheckpointConfig(directory="x")
    with pytest.raises(ConfigError, match="BaselineConfig.encoder = None: expected an @EncoderConfig"):
        BaselineConfig(name="a", title="A")
    with pytest.raises(ConfigError, match="BaselineConfig.start = 'checkpoint': expected '' without"):
        BaselineConfig(name="a", title="A", encoder=EncoderConfig(), start="checkpoint")
    assert not BaselineConfig(name="a", title="A", checkpoint=checkpoint).is_distilled
    assert BaselineConfig(name="a", title="A", checkpoint=checkpoint, start="checkpoint").is_distilled


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("RunConfig.teacher=None", "RunConfig.teacher = None: expected a @TeacherConfig"),
        ("RunConfig.distill=None", "RunConfig.distill = None: expected a @DistillConfig"),
        ("DataConfig.pretrain_corpora=()", "pretrain_corpora = .*expected at least one path"),
        ("RunConfig.untrained_control='found'", "'' or the name of a baseline"),
        ("PretrainConfig.frozen_encoder_steps=9", "frozen_encoder_steps = 9: expected at most steps = 6"),
        ("TeacherConfig.checkpoint=None", "TeacherConfig.encoder = None"),
    ],
)
def test_a_run_lacks_nothing_that_it_needs(models: Path, binding: str, message: str) -> None:
    bindings = [binding]
    if binding.startswith("DataConfig"):
        bindings.append("DataConfig.pretrain_rates=()")
    with pytest.raises(Exception, match=message):
        run_config(models, *bindings)


def test_a_directory_without_tokenizer_takes_the_vocabulary_of_the_run(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "models")
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / "models" / "subject" / name).unlink()
    write_vocabulary(tmp_path / "vocabulary")
    path = tmp_path / "vocabulary" / "vocab.txt"
    bindings = (f"DataConfig.vocabulary={str(path)!r}", "DataConfig.vocabulary_size=64")
    config = completed(run_config(tmp_path / "models", *bindings))
    assert config.data.vocabulary == str(path)
    subject = tmp_path / "models" / "subject"
    assert checkpoint_notes(config) == [
        f"checkpoint of {name}: no tokenizer in {subject}, so that only the size of its vocabulary was compared with"
        f" {path}"
        for name in ("published", "continued")
    ]
    weights = subject / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="model.safetensors: damaged"):
        checkpoint_notes(config)


def test_a_folder_without_weights_is_refused_before_the_run_starts(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "models")
    (tmp_path / "models" / "teacher" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="teacher: no model.safetensors"):
        completed(run_config(tmp_path / "models"))
    (tmp_path / "models" / "teacher" / "pytorch_model.bin").touch()
    with pytest.raises(CheckpointError, match=r"is a pickle file.*CheckpointConfig\.allow_pickle = True"):
        completed(run_config(tmp_path / "models"))


def test_a_vocabulary_larger_than_the_word_table_is_refused_before_the_run_starts(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "models")
    for name in ("teacher", "subject"):
        with (tmp_path / "models" / name / "vocab.txt").open("a") as file:
            file.write("onemore\n")
    with pytest.raises(ConfigError, match=r"at most 64 tokens, the vocab_size of the checkpoint of teacher.* has 65"):
        completed(run_config(tmp_path / "models"))


def test_a_student_of_another_vocabulary_size_is_refused_before_the_run_starts(models: Path) -> None:
    config: Any = run_config(models)
    other = dataclasses.replace(completed(config).baselines[0].architecture, vocab_size=63)
    student = BaselineConfig(name="small", title="Small", encoder=other)
    with pytest.raises(ConfigError, match=r"vocab_size = 63: expected 64 for baseline 'small', the number of tokens"):
        completed(dataclasses.replace(config, baselines=(*config.baselines, student)))


def test_the_settings_of_the_how_to_make_a_run(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (REPOSITORY / "docs" / "how_to" / "use_a_checkpoint.md").read_text(encoding="utf-8")
    own, start = (block.split("```")[0] for block in page.split("## In a run of your own")[1].split("```\n")[1::2][:2])
    monkeypatch.chdir(tmp_path)
    Path("my_run.gin").write_text(own + start, encoding="utf-8")
    sizes = ["VOCAB_SIZE=64", "DataConfig.task_length=32", "DataConfig.span_length=64", "DataConfig.pretrain_length=64"]
    sizes += ["DataConfig.max_query_length=16", "LatencyConfig.sequence_lengths=(32,)"]
    config = load_run_config(["my_run.gin"], [f"TEACHER={str(models / 'teacher')!r}", *sizes], [str(REPOSITORY)])
    found: Any = completed(config)
    assert [(b.name, b.is_distilled) for b in found.baselines] == [
        ("student", True),
        ("minilm", False),
        ("continued", True),
    ]
    assert found.teacher.pretrain.frozen_encoder_steps == 50 and found.distill.start_checkpoint.sha256
