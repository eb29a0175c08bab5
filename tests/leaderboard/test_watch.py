"""The page of a run that is not finished: what it says, when it is built again, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmark.pipeline.workdir import locked
from benchmark.records.record import write
from leaderboard import watch
from leaderboard.__main__ import main
from tests.helpers.board_records import make_block, make_record, make_task
from tests.helpers.unfinished_run import make_unfinished, run_config, write_trials


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_unfinished(tmp_path / "run", run_config(8))


def data_of(page: Path) -> Any:
    text = page.read_text(encoding="utf-8")
    return json.loads(text.partition('<script type="application/json" id="data">')[2].partition("</script>")[0])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_page_of_a_running_search(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_trials(run, run_config(8), 5, begun=7, failed=(2,))
    before = contents(run)
    with locked(run):
        assert main(["watch", str(run), "--once"]) == 0
    page = run / "watch" / "index.html"
    assert capsys.readouterr().out == f"running: 5 of 8 trials -> {page}\n"
    text, data = page.read_text(encoding="utf-8"), data_of(page)
    assert "<title>Running: 5 of 8 trials: micro_test 0.1</title>" in text
    assert "<strong>This run goes on.</strong>" in text and "Synthetic data." in text
    assert (data["watch"]["trials"], data["watch"]["left"]) == ("5 of 8, 2 running, 1 failed", "about 20 s")
    assert data["watch"]["done"] == "data, teacher"
    assert data["watch"]["refresh_s"] == 0, "nobody builds a page again that was asked for once"
    assert [trial["trial"] for trial in data["history"]["trials"]] == [0, 1, 2, 3, 4]
    assert data["rows"] == [] and 'id="systems"' not in text and 'id="history-volume"' in text
    assert (run / "watch" / "search" / "trials.csv").read_text().count("\n") == 6
    assert not (run / "watch" / "records.csv").exists()
    after = {name: content for name, content in contents(run).items() if not name.startswith("watch/")}
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {".lock"}, "the run's own lock"


def test_the_page_of_a_killed_run_does_not_claim_that_it_runs(run: Path, tmp_path: Path) -> None:
    write_trials(run, run_config(8), 3, begun=5)
    assert main(["watch", str(run), "--once", f"--out={tmp_path / 'page'}"]) == 0
    text = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "Unfinished: 3 of 8 trials" in text and "no process of this machine is seen to work on it" in text
    assert data_of(tmp_path / "page" / "index.html")["watch"]["trials"] == "3 of 8, 2 begun, not ended"
    assert not (run / "watch").exists() and not (run / ".lock").exists()


def test_systems_with_records_stand_above_the_trials(run: Path) -> None:
    write_trials(run, run_config(8), 5)
    write(run / "results" / "teacher.json", make_record("teacher", make_task(70.0), latency=(make_block(),)))
    assert main(["watch", str(run), "--once"]) == 0
    text = (run / "watch" / "index.html").read_text(encoding="utf-8")
    assert 'id="systems"' in text and 'id="history"' in text and (run / "watch" / "records.csv").exists()
    assert [row["id"] for row in data_of(run / "watch" / "index.html")["rows"]] == ["teacher"]


def test_before_the_first_trial_and_before_everything(run: Path, tmp_path: Path) -> None:
    assert watch.read_run(run).headline == "unfinished: 0 of 8 trials"
    page, _ = watch.build_page(run, tmp_path / "page", 5)
    assert data_of(page)["history"] is None
    (run / "teacher" / "stage.json").unlink()
    assert watch.read_run(run).headline == "unfinished: data"
    (run / "data" / "data.json").unlink()
    assert watch.read_run(run).headline == "unfinished: nothing yet"


def test_after_the_search_the_parts_are_counted_until_the_records_are_there(run: Path, tmp_path: Path) -> None:
    write_trials(run, run_config(8), 8)
    markers = ["search/stage.json", "students/a/stage.json", "evaluation/a/t/seed0.json", "evaluation/a/t/seed1.json"]
    for name in markers:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("{}")
    assert watch.read_run(run).headline == "unfinished: 8 trials, 1 student, 2 fine-tunings"
    write(run / "results" / "a.json", make_record("a", make_task(70.0), latency=(make_block(),)))
    found = watch.read_run(run)
    assert found.headline == "finished: 8 trials, 1 student, 2 fine-tunings, 1 record"
    # More trials of the same run: its records are of the shorter one.
    later = time.time() + 10
    os.utime(run / "search" / "stage.json", (later, later))
    assert watch.read_run(run).state == "unfinished"
    lines: list[str] = []
    os.utime(run / "results" / "a.json", (later + 1, later + 1))
    watch.watch(run, tmp_path / "page", lines.append, every=1)
    assert len(lines) == 1 and lines[0].startswith("finished: "), "the watch of a finished run ends by itself"
    assert data_of(tmp_path / "page" / "index.html")["watch"]["refresh_s"] == 0


def test_it_is_built_again_when_the_folder_changes(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    config = run_config(8)

    def third(seconds: float) -> None:
        raise KeyboardInterrupt

    def unchanged(seconds: float) -> None:
        assert len(lines) == 2
        monkeypatch.setattr("leaderboard.watch.time.sleep", third)

    def second(seconds: float) -> None:
        assert seconds == 3
        write_trials(run, config, 2)
        monkeypatch.setattr("leaderboard.watch.time.sleep", unchanged)

    def first(seconds: float) -> None:
        # A record that is only half there when the folder is looked at; it is written whole later.
        (run / "results").mkdir()
        (run / "results" / "bad.json").write_text("{")
        monkeypatch.setattr("leaderboard.watch.time.sleep", mended)

    def mended(seconds: float) -> None:
        assert lines[-1].startswith("the page stays as it was: ") and data_of(page)["watch"]["trials"] == "1 of 8"
        (run / "results" / "bad.json").unlink()
        lines.pop()
        second(seconds)

    write_trials(run, config, 1)
    page = tmp_path / "page" / "index.html"
    monkeypatch.setattr("leaderboard.watch.time.sleep", first)
    with pytest.raises(KeyboardInterrupt):
        watch.watch(run, tmp_path / "page", lines.append, every=3)
    assert [line.partition(" -> ")[0] for line in lines] == [f"unfinished: {n} of 8 trials" for n in (1, 2)]
    assert data_of(page)["watch"]["refresh_s"] == 3
    assert [path.name for path in (tmp_path / "page").iterdir() if path.name.startswith(".")] == []


def test_a_lock_that_comes_and_goes_changes_the_page(run: Path) -> None:
    with locked(run):
        held = watch.signature(run)
    free = watch.signature(run)
    assert (held[0], free[0]) == (True, False) and held[1] == free[1]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda run: None, "missing; expected the --workdir of a run"),
        (lambda run: run.write_text(""), "not a folder; expected the --workdir of a run"),
        (lambda run: run.mkdir(), "not the folder of a run, as it has no config.json"),
        (lambda run: (run.mkdir(), (run / "config.json").write_text("{")), "config.json: cannot be read: "),
        (lambda run: (run.mkdir(), (run / "config.json").write_text("[]")), "config.json: cannot be read: "),
        (lambda run: (run.mkdir(), (run / "config.json").write_text('{"config": {"data": {}}}')),
         "config.json: not the settings of a run"),
        (lambda run: (make_unfinished(run, run_config(8)), (run / "search").mkdir(),
                      (run / "search" / "journal.jsonl").write_text("x\n")),
         "journal.jsonl:1: not an entry of the search journal"),
    ],
)  # fmt: skip
def test_what_is_no_run_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prepare: Any, message: str
) -> None:
    prepare(tmp_path / "run")
    assert main(["watch", str(tmp_path / "run"), "--once"]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    assert message in output.err and str(tmp_path / "run") in output.err
    assert not (tmp_path / "run" / "watch").exists()


def test_settings_of_another_version_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = json.loads((run / "config.json").read_text())
    values["config"]["search"]["later"] = 1
    (run / "config.json").write_text(json.dumps(values))
    assert main(["watch", str(run), "--once"]) == 2
    error = capsys.readouterr().err
    assert "config.json: SearchConfig.later = 1: expected one of the fields" in error
    assert error.endswith("was it written by another version?\n")


@pytest.mark.parametrize("inside", ["", "search", "results", "site", "watched"])
def test_the_page_is_not_written_among_the_stages(run: Path, capsys: pytest.CaptureFixture[str], inside: str) -> None:
    before = contents(run)
    assert main(["watch", str(run), "--once", f"--out={run / inside}"]) == 2
    assert "in the folder of the run; accepted: " in capsys.readouterr().err
    assert contents(run) == before


def test_ctrl_c_ends_the_command(run: Path) -> None:
    write_trials(run, run_config(8), 1)
    command = [sys.executable, "-m", "leaderboard", "watch", str(run), "--every=1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("unfinished: 1 of 8 trials -> ")
    # The search goes on beside it: nothing is held that it needs.
    write_trials(run, run_config(8), 2)
    assert process.stdout.readline().startswith("unfinished: 2 of 8 trials -> ")
    process.send_signal(2)
    assert process.wait(timeout=30) == 130
