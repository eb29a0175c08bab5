"""The short form of a run with one checkpoint: the command that it stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.commands import evaluate
from tasks.system.errors import InputError


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("all-MiniLM-L6-v2", "all-minilm-l6-v2"),
        ("My model (final)", "my-model-final-"),
        ("teacher", "teacher-model"),
        ("untrained", "untrained-model"),
    ],
)
def test_the_folder_names_the_system(folder: str, name: str) -> None:
    assert evaluate.name_of(Path(folder)) == name


def test_flags_become_bindings(tmp_path: Path) -> None:
    words = evaluate.command_line([str(tmp_path), "--tasks=a_v1, b_v1", "--seeds=0,07", "--gin.X=1", "--dry_run"])
    assert words[0] == "--gin_file=gin/evaluate.gin"
    assert f"--gin.CHECKPOINT={str(tmp_path)!r}" in words
    assert {"--gin.DataConfig.tasks=('a_v1', 'b_v1')", "--gin.FinetuneConfig.seeds=(0, 7,)", "--gin.X=1"} <= set(words)
    assert words[-1] == "--dry_run"


@pytest.mark.parametrize(
    ("flag", "message"),
    [("--seeds=a", "--seeds=a: expected integers"), ("--tasks=,", "--tasks=,: expected at least one name")],
)
def test_bad_flags_are_one_line(tmp_path: Path, flag: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate.command_line([str(tmp_path), flag])
    with pytest.raises(InputError, match="nothing: expected a Hugging Face directory"):
        evaluate.command_line([str(tmp_path / "nothing")])
