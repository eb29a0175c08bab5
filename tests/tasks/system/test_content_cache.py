"""The cache of results: what is stored comes back, and nothing else does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.system import content_cache
from tasks.system.atomic_directory import BUILDING
from tasks.system.cache_entries import FILES, MANIFEST, collect, entries
from tasks.system.content_cache import LINKED_FROM, ContentCache, EntryName, code_digests
from tasks.system.repository import REPOSITORY

LARGE = bytes(range(256)) * (LINKED_FROM // 256)


def cache(folder: Path, limit: int = 10**9) -> ContentCache:
    folder.mkdir(parents=True, exist_ok=True)
    return ContentCache(folder, limit, code_digests(["baselines"]), {"python": "3"})


def named(one: ContentCache, **values: Any) -> EntryName:
    return one.name("teacher", ["baselines"], **({"seed": 0} | values))


def make_stage(root: Path) -> Path:
    """Writes what a stage leaves: parameters, a log to which it may append, and its marker."""
    (root / "params" / "deep").mkdir(parents=True)
    (root / "params" / "deep" / "large").write_bytes(LARGE)
    (root / "params" / "small").write_text("small")
    (root / "log.jsonl").write_bytes(LARGE)
    (root / "stage.json").write_text("{}")
    (root / "unrelated").write_text("stays")
    return root


ITEMS = ("params", "log.jsonl", "absent", "stage.json")


def stored(tmp_path: Path, limit: int = 10**9) -> tuple[ContentCache, Path]:
    """A cache with the result of a stage; the second value is its entry."""
    one = cache(tmp_path / "cache", limit)
    lines: list[str] = []
    about = {"title": "a teacher", "seconds": 12.5}
    one.store(named(one), make_stage(tmp_path / "first"), ITEMS, about, lines.append, appended=["log.jsonl"])
    assert lines == []
    return one, one.folder / str(named(one))


def content(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def test_what_was_stored_comes_back(tmp_path: Path) -> None:
    one, _ = stored(tmp_path)
    second, lines = tmp_path / "second", list[str]()
    (second / "params").mkdir(parents=True)
    (second / "params" / "old").touch()
    (second / "log.jsonl").write_text("old")
    assert one.take(named(one), second, lines.append) == {"title": "a teacher", "seconds": 12.5}
    assert lines == []
    expected = content(tmp_path / "first")
    del expected["unrelated"]
    assert content(second) == expected
    assert [path.name for path in second.iterdir() if path.name.startswith(BUILDING)] == []


def test_a_name_is_a_digest_of_all_that_decides(tmp_path: Path) -> None:
    one, _ = stored(tmp_path)
    lines: list[str] = []
    others = [
        named(one, seed=1),
        named(one, more=None),
        one.name("student", ["baselines"], seed=0),
        one.name("teacher", [], seed=0),
        named(ContentCache(one.folder, 1, {"baselines": "another"}, one.versions)),
        named(ContentCache(one.folder, 1, one.code, {"python": "4"})),
    ]
    assert len({str(name) for name in others} | {str(named(one))}) == 7
    for name in others:
        assert one.take(name, tmp_path / "second", lines.append) is None
    assert lines == [] and not (tmp_path / "second").exists()


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.lists(st.text())), min_size=2))
def test_the_order_of_inputs_does_not_matter_and_their_values_do(values: dict[str, Any]) -> None:
    name = EntryName("teacher", values)
    assert name.key == EntryName("teacher", dict(reversed(values.items()))).key
    for key in values:
        assert name.key != EntryName("teacher", {**values, key: [values[key]]}).key
        assert name.key != EntryName("teacher", {k: v for k, v in values.items() if k != key}).key


def test_large_files_are_read_only_links_and_what_grows_is_a_copy(tmp_path: Path) -> None:
    one, entry = stored(tmp_path)
    second = tmp_path / "second"
    assert one.take(named(one), second, print) is not None
    large = [root / "params" / "deep" / "large" for root in (tmp_path / "first", entry / FILES, second)]
    assert len({path.stat().st_ino for path in large}) == 1
    assert all(path.stat().st_mode & 0o222 == 0 for path in large)
    for name in ("log.jsonl", "stage.json", "params/small"):
        copies = [root / name for root in (tmp_path / "first", entry / FILES, second)]
        assert len({path.stat().st_ino for path in copies}) == 3, name
        assert copies[1].stat().st_mode & 0o222 == 0
    # A stage of the run goes on, and replaces or removes its files: the entry stays as it is.
    with (second / "log.jsonl").open("ab") as log:
        log.write(b"more")
    (second / "params" / "small").write_text("another")
    (second / "params" / "deep" / "large").unlink()
    third = tmp_path / "third"
    assert one.take(named(one), third, pytest.fail) is not None
    assert content(third)["log.jsonl"] == content(third)["params/deep/large"] == LARGE


def test_without_links_everything_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    one, entry = stored(tmp_path)
    assert one.take(named(one), tmp_path / "second", pytest.fail) is not None
    places = [root / "params" / "deep" / "large" for root in (tmp_path / "first", entry / FILES, tmp_path / "second")]
    assert len({path.stat().st_ino for path in places}) == 3
    assert all(path.read_bytes() == LARGE for path in places)


def flip(path: Path) -> None:
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(changed)


def remove(path: Path) -> None:
    path.unlink()


def forge(path: Path) -> None:
    """Claims other seconds in a manifest."""
    manifest = json.loads(path.read_text())
    manifest["about"]["seconds"] = 0.0
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("file", "harm", "words"),
    [
        (f"{FILES}/params/deep/large", flip, "params/deep/large is not what was written"),
        (f"{FILES}/params/small", flip, "params/small is not what was written"),
        (f"{FILES}/params/small", remove, "params/small is missing"),
        (MANIFEST, remove, "entry.json is missing"),
        (MANIFEST, flip, "entry.json is not what was written"),
        (MANIFEST, forge, "entry.json is not what was written"),
    ],
)
def test_a_damaged_entry_is_named_removed_and_replaced(
    tmp_path: Path, file: str, harm: Callable[[Path], None], words: str
) -> None:
    one, entry = stored(tmp_path)
    harm(entry / file)
    second, lines = tmp_path / "second", list[str]()
    assert one.take(named(one), second, lines.append) is None
    assert lines == [f"cache: {entry} is damaged ({words}); it is not used, and was removed"]
    assert not second.exists() and not entry.exists()
    assert one.take(named(one), second, lines.append) is None
    assert len(lines) == 1
    one.store(named(one), make_stage(tmp_path / "again"), ITEMS, {"seconds": 1.0}, pytest.fail)
    assert one.take(named(one), second, pytest.fail) == {"seconds": 1.0}


def test_an_entry_under_another_name_is_not_used(tmp_path: Path) -> None:
    one, entry = stored(tmp_path)
    other = named(one, seed=1)
    entry.rename(one.folder / str(other))
    lines: list[str] = []
    assert one.take(other, tmp_path / "second", lines.append) is None
    assert "it is of something else" in lines[0]


def test_what_was_used_least_recently_goes_first(tmp_path: Path) -> None:
    one = cache(tmp_path / "cache", limit=3 * len(LARGE))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "arrays").write_bytes(LARGE)
    names = [named(one, seed=seed) for seed in range(4)]
    for number, name in enumerate(names[:3]):
        one.store(name, tmp_path / "run", ["arrays"], {}, pytest.fail)
        # The clock of a file system may be coarse.
        os.utime(one.folder / str(name) / MANIFEST, (number, number))
    assert one.take(names[0], tmp_path / "other", pytest.fail) is not None
    one.store(names[3], tmp_path / "run", ["arrays"], {}, pytest.fail)
    left = {entry.path.name for entry in entries(one.folder)}
    assert left == {str(names[number]) for number in (0, 2, 3)}


def test_a_result_above_the_limit_is_not_kept(tmp_path: Path) -> None:
    one = cache(tmp_path / "cache", limit=100)
    lines: list[str] = []
    one.store(named(one), make_stage(tmp_path / "first"), ITEMS, {"title": "a teacher"}, lines.append)
    assert len(lines) == 1 and lines[0].startswith("cache: a teacher is not kept: ")
    assert list(one.folder.iterdir()) == []


def test_a_program_that_was_edited_meanwhile_keeps_nothing(tmp_path: Path) -> None:
    one = ContentCache(tmp_path, 10**9, {"baselines": "as it was"}, {})
    lines: list[str] = []
    one.store(named(one), make_stage(tmp_path / "first"), ITEMS, {"title": "a teacher"}, lines.append)
    assert lines == ["cache: a teacher is not kept: files of the program have changed since it began"]


def test_a_disk_that_is_full_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    one, entry = stored(tmp_path)
    lines: list[str] = []
    monkeypatch.setattr(shutil, "copyfile", full)
    assert one.take(named(one), tmp_path / "second", lines.append) is None
    one.store(named(one, seed=1), tmp_path / "first", ITEMS, {}, lines.append)
    assert [line.partition(": ")[2].partition(":")[0] for line in lines] == ["not used", "teacher is not kept"]
    assert all(line.endswith("No space left on device") for line in lines)
    assert [path.name for path in one.folder.iterdir()] == [entry.name]
    assert list((tmp_path / "second").iterdir()) == []


CHILD = """
import sys, pathlib, time
from tests.tasks.system.test_content_cache import ITEMS, cache, content, make_stage, named
from tasks.system import content_cache
folder, work, slow = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), len(sys.argv) > 3
one, kept = cache(folder), content_cache._kept
if slow:
    def _kept(*arguments):
        print("writing", flush=True)
        time.sleep(60)
    content_cache._kept = _kept
make_stage(work / "made")
def fail(line):
    raise SystemExit(line)
one.store(named(one), work / "made", ITEMS, {"seconds": 1.0}, fail)
assert one.take(named(one), work / "taken", fail) == {"seconds": 1.0}
assert content(work / "taken").items() < content(work / "made").items()
"""


def start(folder: Path, work: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(folder), str(work), *more]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_processes_that_write_the_same_entry_do_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    processes = [start(folder, tmp_path / str(number)) for number in range(4)]
    for process in processes:
        output = process.communicate(timeout=120)
        assert process.returncode == 0, output
    assert [path.name for path in folder.iterdir()] == [str(named(cache(folder)))]


def test_a_killed_writer_leaves_no_entry(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    process = start(folder, tmp_path / "work", "slow")
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    one = cache(folder)
    (left,) = folder.iterdir()
    assert left.name.startswith(BUILDING) and entries(folder) == []
    assert one.take(named(one), tmp_path / "second", pytest.fail) is None
    # It is removed when nobody can be about to lock it.
    collect(folder, 10**9)
    assert left.exists()
    os.utime(left, (time.time() - 3600,) * 2)
    collect(folder, 10**9)
    assert list(folder.iterdir()) == []


def test_the_digest_of_code_has_names_and_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_cache, "REPOSITORY", tmp_path)
    found = set()
    for files in ({"a.py": "1"}, {"a.py": "2"}, {"b.py": "1"}, {"a.py": "1", "deep/c.py": ""}):
        for name, text in files.items():
            (tmp_path / "package" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "package" / name).write_text(text)
        found.add(code_digests(["package"])["package"])
        for name in files:
            (tmp_path / "package" / name).unlink()
    assert len(found) == 4
