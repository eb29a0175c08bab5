"""The command that lists the cache and removes from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmark.commands.cache import main
from tasks.system.cache_entries import MANIFEST
from tasks.system.cache_folder import VARIABLE
from tasks.system.content_cache import ContentCache


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of three entries of 2,000 bytes, used in the order of their seeds, and a file of somebody else."""
    (tmp_path / "arrays").write_bytes(bytes(2000))
    cache = ContentCache(tmp_path / "cache", 10**9, {}, {})
    cache.folder.mkdir()
    for seed in range(3):
        name = cache.name("teacher", [], seed=seed)
        cache.store(name, tmp_path, ["arrays"], {"title": f"seed {seed}", "seconds": 61.5}, pytest.fail)
        os.utime(cache.folder / str(name) / MANIFEST, (10**9 + seed, 10**9 + seed))
    (cache.folder / "notes").write_text("not an entry")
    monkeypatch.setenv(VARIABLE, str(cache.folder))
    return cache.folder


def titles(output: str) -> list[str]:
    return [line.partition("seed ")[2] for line in output.splitlines() if "seed " in line]


def test_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    output = capsys.readouterr().out
    assert titles(output) == ["0", "1", "2"]
    assert output.splitlines()[0].startswith("2001-09-")
    assert "2.0 KB      61.5 s  teacher" in output.splitlines()[0]
    assert output.splitlines()[-1] == f"{folder}: 3 entries, 6.0 KB"


def test_gc_removes_what_was_used_least_recently(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gc"]) == 0
    assert capsys.readouterr().out == f"{folder}: removed 0 entries, 0 B; left 3 entries, 6.0 KB\n"
    assert main(["gc", "--limit=5KB"]) == 0
    assert capsys.readouterr().out == f"{folder}: removed 1 entry, 2.0 KB; left 2 entries, 4.0 KB\n"
    assert main(["list"]) == 0
    assert titles(capsys.readouterr().out) == ["1", "2"]


def test_clear_leaves_what_is_no_entry(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clear"]) == 0
    assert capsys.readouterr().out == f"{folder}: removed 3 entries, 6.0 KB; left 0 entries, 0 B\n"
    assert [path.name for path in folder.iterdir()] == ["notes"]


def test_a_damaged_entry_is_listed_and_removed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = next(path for path in folder.iterdir() if path.is_dir())
    (entry / MANIFEST).unlink()
    assert main(["list"]) == 0
    assert "damaged: entry.json is missing" in capsys.readouterr().out
    assert main(["gc", "--limit=0B"]) == 0
    assert not entry.exists()


def test_there_may_be_no_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("list", "gc", "clear"):
        assert main([command, f"--cache_dir={tmp_path / 'none'}"]) == 0
        assert capsys.readouterr().out == f"{tmp_path / 'none'}: 0 entries, 0 B\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["list", "--cache_dir=none"], "--cache_dir: the cache is switched off; expected a folder"),
        (["list", "--cache_dir=gs://bucket"], "found the address 'gs://bucket'"),
        (["gc", "--limit=5"], "--limit: expected a number with its unit"),
        (["list", f"--cache_dir={__file__}"], "expected a folder, found a file"),
        ([], "command"),
    ],
)
def test_bad_input_is_one_line(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and part in error
