"""Every shipped gin file loads, and every gin file that the documents name exists."""

import re
from pathlib import Path

import pytest

from benchmark.cli.gin_loader import load
from benchmark.config import STAGES
from tasks.system.repository import REPOSITORY

# Full runs stand on their own; the other folders hold parts for them to include.
RUNS = sorted([*(REPOSITORY / "gin").glob("*.gin"), *(REPOSITORY / "gin" / "tracks").glob("*.gin")])
PARTS = sorted(set((REPOSITORY / "gin").rglob("*.gin")) - set(RUNS))
DOCUMENTS = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").rglob("*.md"),
        REPOSITORY / "Makefile",
        REPOSITORY / "run_benchmark.py",
    ]
)


def test_there_are_runs() -> None:
    assert REPOSITORY / "gin" / "quickstart.gin" in RUNS


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_every_run_loads(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # From elsewhere, so that nothing depends on the current directory.
    monkeypatch.chdir(tmp_path)
    loaded = load([str(path)])
    (tmp_path / "again.gin").write_text(loaded.text, encoding="utf-8")
    assert load(["again.gin"]).config == loaded.config


@pytest.mark.parametrize("path", PARTS, ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_every_part_is_included_or_explained(path: Path) -> None:
    name = path.relative_to(REPOSITORY).as_posix()
    included = any(name in run.read_text(encoding="utf-8") for run in [*RUNS, *PARTS] if run != path)
    explained = path.read_text(encoding="utf-8").startswith("#")
    assert included or explained, f"{name}: nothing includes it and no comment at its head says what it is for"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_named_gin_files_exist_and_stages_are_real(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"\bgin/[\w./-]+\.gin\b", text))
    assert not [name for name in sorted(named) if not (REPOSITORY / name).is_file()]
    for stages in re.findall(r"--stages=([a-z,]+)", text):
        assert set(stages.strip(",").split(",")) <= set(STAGES)
