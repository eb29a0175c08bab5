"""A run whose teacher and baselines are Hugging Face directories, through the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from baselines.__main__ import main as baselines_main
from benchmark.records.record import Record, read
from tasks.system.repository import REPOSITORY
from tests.conftest import NUMERICS_FLAG
from tests.e2e.tiny_run import environment
from tests.helpers.hugging_face_models import write_model

pytestmark = pytest.mark.slow


def command(folder: Path, *flags: str) -> list[str]:
    models = folder / "models"
    given = [f"--gin.TEACHER={str(models / 'teacher')!r}", f"--gin.SUBJECT={str(models / 'subject')!r}"]
    start = [sys.executable, "run_benchmark.py", "--gin_file=tests/e2e/checkpoint.gin", NUMERICS_FLAG, *given]
    return [*start, f"--workdir={folder / 'run'}", *flags]


def run(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *flags), cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=600
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    # A head that no teacher needs.
    write_model(folder / "models" / "teacher", "classifier")
    write_model(folder / "models" / "subject", "masked_lm", 1, hidden_size=12, embedding_size=12, intermediate_size=16)
    done = run(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def records(folder: Path) -> dict[str, Any]:
    return {path.stem: read(path) for path in (folder / "run" / "results").glob("*.json")}


def test_every_system_says_where_it_came_from(records: dict[str, Record]) -> None:
    said = {
        name: (r.training.recipe, r.training.teacher, r.training.start, r.training.steps)
        for name, r in records.items()
        if r.training is not None
    }
    assert said == {
        "teacher": ("adapted checkpoint", None, "teacher", 6),
        "published": ("published checkpoint", None, "published", 0),
        "continued": ("mobilebert", "teacher", "continued", 5),
        "plain": ("mobilebert", "teacher", None, 5),
    }
    for record in records.values():
        assert record.provenance is not None
        assert "vocabulary/vocab.txt" in record.provenance.data_digests
        assert str(REPOSITORY) not in "".join(record.provenance.data_digests)
        sources = record.provenance.checkpoints
        assert set(sources) == {"teacher", "published", "continued"}
        assert sources["published"].sha256 == sources["continued"].sha256 != sources["teacher"].sha256
        assert record.search is None and [block.method for block in record.latency] == ["measured"]


def test_masked_lm_is_measured_before_and_after_the_adaptation(records: dict[str, Record]) -> None:
    training = records["teacher"].training
    assert training is not None and training.masked_lm_accuracy is not None
    assert training.masked_lm_accuracy_before is not None
    # The text is the same, so that other parameters give another loss.
    assert training.masked_lm_loss is not None and training.masked_lm_loss > 0


def test_the_same_command_reuses_all(folder: Path) -> None:
    again = run(folder)
    assert "reused: data, teacher, distill, finetune, latency" in again.stdout, again.stdout + again.stderr


def test_another_content_is_another_run(folder: Path, tmp_path: Path) -> None:
    write_model(
        tmp_path / "models" / "subject", "masked_lm", 2, hidden_size=12, embedding_size=12, intermediate_size=16
    )
    other = f"--gin.SUBJECT={str(tmp_path / 'models' / 'subject')!r}"
    done = run(folder, other)
    assert done.returncode == 2 and "holds a run of other settings" in done.stderr
    assert "baselines[0].checkpoint.sha256 (the content of its files) " in done.stderr


def test_verify_names_a_changed_checkpoint(folder: Path, tmp_path: Path) -> None:
    text = (folder / "run" / "results" / "published.json").read_text()
    moved = tmp_path / "published.json"
    write_model(
        tmp_path / "models" / "subject", "masked_lm", 2, hidden_size=12, embedding_size=12, intermediate_size=16
    )
    moved.write_text(text.replace(str(folder / "models" / "subject"), str(tmp_path / "models" / "subject")))
    flags = [f"--verify={moved}", f"--workdir={tmp_path / 'verify'}"]
    done = subprocess.run(
        [sys.executable, "run_benchmark.py", *flags], cwd=REPOSITORY, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert "provenance.checkpoints.published.files.model.safetensors" in done.stdout


def test_a_published_model_is_exported_as_it_came(folder: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    record = folder / "run" / "results" / "published.json"
    assert baselines_main(["export", str(record), f"--to={tmp_path / 'out'}"]) == 0
    given = load_file(folder / "models" / "subject" / "model.safetensors")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == given.keys()
    assert all((found[name] == given[name]).all() for name in given)
