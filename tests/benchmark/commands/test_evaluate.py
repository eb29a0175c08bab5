"""The short form of a run with gin/evaluate.gin: its flags become those of run_benchmark.py."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.cli.gin_loader import load
from benchmark.commands.evaluate import command_line, main, name_of
from tasks.system.errors import InputError
from tasks.system.repository import REPOSITORY
from tests.helpers.hugging_face_models import write_model


def loaded(words: list[str]) -> object:
    """Loads the settings that the words of a command line stand for."""
    files = [word.partition("=")[2] for word in words if word.startswith("--gin_file=")]
    bindings = [word.removeprefix("--gin.") for word in words if word.startswith("--gin.")]
    return load([str(REPOSITORY / file) for file in files], bindings).config


def test_flags_become_settings(tmp_path: Path) -> None:
    model = tmp_path / "It's a Model"
    model.mkdir()
    flags = ["--tasks=glue_mrpc_v1, glue_rte_v1", "--seeds=3,4", "--data=/data", "--gin.FinetuneConfig.epochs=(2.0,)"]
    words = command_line([str(model), *flags])
    # The printed command is read by a shell to the same words.
    assert shlex.split(shlex.join(words)) == words
    config = loaded(words)
    assert config.data.tasks == ("glue_mrpc_v1", "glue_rte_v1")  # type: ignore[attr-defined]
    assert (config.finetune.seeds, config.finetune.epochs) == ((3, 4), (2.0,))  # type: ignore[attr-defined]
    (subject,) = config.baselines  # type: ignore[attr-defined]
    assert (subject.name, subject.title, subject.checkpoint.directory) == ("it-s-a-model", "It's a Model", str(model))
    assert not subject.is_distilled and config.data.directory == "/data"  # type: ignore[attr-defined]
    assert words[-1].startswith("--workdir=runs/evaluate_it-s-a-model-")


def test_flags_of_the_cache_are_passed_on(tmp_path: Path) -> None:
    assert not any(word.startswith("--cache") for word in command_line([str(tmp_path)]))
    for given in ("--cache_dir=none", "--cache_dir=", "--cache_dir=a b"):
        assert given in command_line([str(tmp_path), given])
    assert "--cache_limit=1500000B" in command_line([str(tmp_path), "--cache_limit=1.5MB"])


def test_models_in_folders_of_one_name_have_runs_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "model").mkdir(parents=True)
    first, second = (command_line([str(tmp_path / name / "model")])[-1] for name in ("a", "b"))
    assert first != second and all(
        re.fullmatch(r"--workdir=runs/evaluate_model-[0-9a-f]{6}", w) for w in (first, second)
    )
    # However the folder is written.
    monkeypatch.chdir(tmp_path / "b")
    assert command_line(["model"])[-1] == command_line(["../b/./model/"])[-1] == second


def test_nothing_but_the_directory_is_needed(tmp_path: Path) -> None:
    config = loaded(command_line([str(tmp_path), "--workdir=out"]))
    assert config.finetune.seeds == (0, 1, 2)  # type: ignore[attr-defined]
    assert config.search is None and config.teacher is None and config.distill is None  # type: ignore[attr-defined]


def test_names_of_folders_become_names_of_systems(tmp_path: Path) -> None:
    for folder, name in (("bert-base", "bert-base"), ("a b/c", "c"), ("_Ünï-9.x", "n--9.x"), ("x" * 90, "x" * 60)):
        assert name_of(tmp_path / folder) == name
    # These names are those of other systems of a run.
    assert [name_of(tmp_path / name) for name in ("teacher", "untrained")] == ["teacher-model", "untrained-model"]
    with pytest.raises(InputError, match="letters or digits"):
        name_of(Path("/"))


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["{}/none"], ["{}/none", "no such folder"]),
        (["{}", "--seeds=a"], ["--seeds=a: expected integers >= 0"]),
        (["{}", "--seeds=-1"], ["--seeds=-1"]),
        (["{}", "--tasks=,"], ["--tasks=,: expected at least one name"]),
        (["{}", "--nothing"], ["--nothing"]),
        ([], ["DIR"]),
    ],
)
def test_bad_flags_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], parts: list[str]
) -> None:
    assert main([flag.format(tmp_path) for flag in flags]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(part.format(tmp_path) in error for part in parts)


def test_the_command_becomes_the_run(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    command = [sys.executable, "-m", "benchmark.commands.evaluate", str(tmp_path / "model"), "--dry_run"]
    flags = [f"--data={tmp_path}", "--tasks=glue_rte_v1", "--gin.DataConfig.task_length=32"]
    lengths = [
        "--gin.DataConfig.span_length=64",
        "--gin.DataConfig.max_query_length=16",
        "--gin.LatencyConfig.sequence_lengths=(32,)",
    ]
    done = subprocess.run([*command, *flags, *lengths], cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first.startswith("python run_benchmark.py --gin_file=gin/evaluate.gin")
    assert any("shapes: model, classification: " in line for line in rest)
