"""A run's folder: work that is done once, and one run at a time."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmark.config import fingerprint
from benchmark.pipeline.workdir import (
    RunError,
    finished,
    locked,
    read_entry,
    read_json,
    run_stage_once,
    start_folder,
    write_json,
    write_run_identity,
)
from tests.benchmark.config.test_config import run_config


class Work:
    """Counts how often it is done."""

    def __init__(self) -> None:
        self.times = 0
        self.lines: list[str] = []

    def do(self, path: Path, stage_fingerprint: str) -> dict[str, Any]:
        def work() -> dict[str, Any]:
            self.times += 1
            return {"value": self.times}

        return run_stage_once(path, stage_fingerprint, work, self.lines.append, "stage")


def test_work_is_done_once(tmp_path: Path) -> None:
    work, path = Work(), tmp_path / "deep" / "stage.json"
    first = work.do(path, "a")
    assert (first["result"], first["reused"]) == ({"value": 1}, False)
    assert work.lines == []
    second = work.do(path, "a")
    assert second == {**first, "reused": True}
    assert work.lines == ["stage: reused"]
    assert work.times == 1
    assert finished(path, "a") == {k: v for k, v in first.items() if k != "reused"}


def test_other_settings_are_done_anew(tmp_path: Path) -> None:
    work, path = Work(), tmp_path / "stage.json"
    work.do(path, "a")
    assert finished(path, "b") is None
    assert work.do(path, "b")["result"] == {"value": 2}
    assert work.do(path, "a")["result"] == {"value": 3}


def test_work_that_fails_leaves_no_marker(tmp_path: Path) -> None:
    def work() -> dict[str, Any]:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        run_stage_once(tmp_path / "stage.json", "a", work, print, "stage")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b'{"fingerprint": "a"', b"\xff\xfe"])
def test_a_damaged_marker_names_file_and_cure(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "stage.json"
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        Work().do(path, "a")
    message = str(caught.value)
    assert message.startswith(f"{path}: damaged (")
    assert message.endswith("; remove it and run the same command again")
    assert "\n" not in message


@pytest.mark.parametrize("content", ["[]", "3", '{"result": 1}'])
def test_a_marker_without_fingerprint_counts_for_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "stage.json"
    path.write_text(content)
    assert finished(path, "a") is None


def test_work_whose_marker_lost_its_result_is_done_again(tmp_path: Path) -> None:
    work, path = Work(), tmp_path / "stage.json"
    work.do(path, "a")
    write_json(path, {"fingerprint": "a", "seconds": 1.0})
    assert work.do(path, "a")["result"] == {"value": 2}


def test_a_missing_entry_names_file_entry_and_cure(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    write_json(path, {"fingerprint": "a", "result": {}})
    assert read_entry(path, "fingerprint") == "a"
    for names in (("seconds",), ("result", "found"), ("fingerprint", "found")):
        with pytest.raises(RunError, match=f"stage.json: damaged .without {'.'.join(names)}.; remove it"):
            read_entry(path, *names)


def test_a_folder_that_cannot_be_made_names_the_flag(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for workdir in (tmp_path / "file" / "deep", Path("/proc/none")):
        with pytest.raises(RunError, match=f"^--workdir={workdir}: cannot be written: "), locked(workdir):
            pass


def test_only_finite_numbers_are_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []
    write_json(tmp_path / "x.json", {"b": 1, "a": 2})
    assert read_json(tmp_path / "x.json") == {"a": 2, "b": 1}


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    code = (
        "import fcntl, sys\n"
        f"file = open({str(tmp_path / '.lock')!r}, 'w')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process is running here"), locked(tmp_path):
            pass
        # A kill leaves the file and frees the lock.
        other.kill()
        other.wait()
        with locked(tmp_path):
            pass


def test_declare_refuses_other_settings(tmp_path: Path) -> None:
    config = run_config()
    write_run_identity(tmp_path, config, "text\n", {"git_commit": "unknown"})
    assert json.loads((tmp_path / "config.json").read_text())["fingerprint"] == fingerprint(config)
    assert (tmp_path / "config.gin").read_text() == "text\n"
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_json(tmp_path / "data" / "stage.json", {"fingerprint": "a"})
    named = rf"holds a run of other settings \(there -> now: seed {config.seed} -> 1\); choose another --workdir"
    with pytest.raises(RunError, match=named):
        write_run_identity(tmp_path, dataclasses.replace(config, seed=1), "other\n", {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    write_run_identity(tmp_path, config, "text\n", {"git_commit": "abc"})
    assert read_json(tmp_path / "manifest.json") == {"git_commit": "abc"}


@pytest.mark.parametrize(
    "marker", ["teacher/stage.json", "students/a/stage.json", "evaluation/a/b/seed0.json", "results/a.json"]
)
def test_a_folder_without_a_result_takes_other_settings(tmp_path: Path, marker: str) -> None:
    config = run_config()
    write_run_identity(tmp_path, config, "text\n", {})
    # The data stage refused a value, and the corrected command comes.
    (tmp_path / "data").mkdir()
    write_json(tmp_path / "teacher" / "begun.json", {"fingerprint": "a"})
    other = dataclasses.replace(config, seed=1)
    write_run_identity(tmp_path, other, "other\n", {})
    assert read_json(tmp_path / "config.json")["fingerprint"] == fingerprint(other)
    assert (tmp_path / "config.gin").read_text() == "other\n"
    write_json(tmp_path / marker, {})
    with pytest.raises(RunError, match="seed 1 -> 0"):
        write_run_identity(tmp_path, dataclasses.replace(config, seed=0), "text\n", {})


def test_a_linked_stage_begins_anew_and_leaves_what_it_was_linked_to(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_json(elsewhere / "begun.json", {"fingerprint": "a"})
    stage = tmp_path / "run" / "teacher"
    stage.parent.mkdir()
    stage.symlink_to(elsewhere)
    start_folder(stage, "a")
    assert stage.is_symlink()
    start_folder(stage, "b")
    assert not stage.is_symlink() and read_json(stage / "begun.json") == {"fingerprint": "b"}
    assert read_json(elsewhere / "begun.json") == {"fingerprint": "a"}


def test_a_folder_knows_the_key_that_all_of_it_was_made_under(tmp_path: Path) -> None:
    stage = tmp_path / "teacher"
    assert start_folder(stage, "a", "key")
    assert start_folder(stage, "a", "key")
    # Work under another key, or under one that nobody knows, spoils it for good, until it begins anew.
    for other in ("another", None):
        assert not start_folder(stage, "a", other)
        assert not start_folder(stage, "a", "key")
        assert start_folder(stage, f"b {other}", "key")
        assert start_folder(stage, "a", "key")


def test_seconds_that_a_cache_saved_count_and_are_no_result(tmp_path: Path) -> None:
    marker = run_stage_once(tmp_path / "m", "a", lambda: {"value": 1, "cached_seconds": 100.0}, print, "stage")
    assert marker["result"] == {"value": 1}
    assert 100.0 <= marker["seconds"] < 101.0


@pytest.mark.parametrize("content", ["[]", "not JSON"])
def test_declare_refuses_a_damaged_folder(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    write_json(tmp_path / "data" / "stage.json", {})
    with pytest.raises(RunError):
        write_run_identity(tmp_path, run_config(), "", {})
