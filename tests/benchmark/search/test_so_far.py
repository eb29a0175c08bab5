"""The state of a search is read from its folder while it goes on, after a kill, and at its end."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from benchmark.records.history import parse_history
from benchmark.records.record import RecordError
from benchmark.search.journal import Journal, read_trials
from benchmark.search.loop import run_search
from benchmark.search.results import history
from benchmark.search.so_far import read_so_far
from tests.helpers.searches import CONFIG, accuracy, quiet, threads
from tests.helpers.unfinished_run import make_unfinished, run_config, search_of, write_trials


def test_each_prefix_of_a_journal_is_a_state(tmp_path: Path) -> None:
    whole = tmp_path / "whole" / "journal.jsonl"
    run_search(CONFIG, Journal(whole), threads(accuracy), 0, quiet)
    lines = whole.read_bytes().splitlines(keepends=True)
    directory = tmp_path / "search"
    directory.mkdir()
    before = 0
    for count in range(len(lines) + 1):
        # A kill may tear the last line off.
        torn = lines[count][:20] if count < len(lines) else b""
        (directory / "journal.jsonl").write_bytes(b"".join(lines[:count]) + torn)
        found = read_so_far(CONFIG, directory, "micro")
        trials = read_trials(directory / "journal.jsonl")
        assert (found.ended, found.running) == (
            sum(t.status != "running" for t in trials),
            sum(t.status == "running" for t in trials),
        )
        assert found.total == 9 and found.ended >= before
        assert len(parse_history(found.history).trials) == found.ended
        before = found.ended
    assert before == 9 and found.seconds_left == 0.0
    assert found.history == history(CONFIG, read_trials(whole), "micro")
    assert not list(directory.glob("*lease*")), "reading takes no lock"


def test_failed_and_running_trials_are_counted(tmp_path: Path) -> None:
    config = run_config(8, parallel_trials=2)
    folder = make_unfinished(tmp_path, config)
    write_trials(folder, config, 5, begun=7, failed=(2,))
    found = read_so_far(search_of(config), folder / "search", config.track)
    assert (found.ended, found.failed, found.running, found.total) == (5, 1, 2, 8)
    # Three are left of ten seconds each, two at a time.
    assert found.seconds_left == 20.0
    assert [row["status"] for row in found.history["trials"]].count("failed") == 1


def test_the_analysis_of_an_ended_search_is_kept(tmp_path: Path) -> None:
    config = run_config(4)
    folder = make_unfinished(tmp_path, config)
    search, directory = search_of(config), folder / "search"
    write_trials(folder, config, 4)
    analysis = {"draws": 5, "front": [], "hypervolume": None, "importance": None, "predictions": [], "notes": ["n"]}
    written = history(search, read_trials(directory / "journal.jsonl"), "t") | {"analysis": analysis}
    (directory / "history.json").write_text(json.dumps(written))
    assert read_so_far(search, directory, "t").history["analysis"]["notes"] == ["n"]
    # More trials: the history in the folder is that of the shorter search.
    longer = run_config(8)
    write_trials(folder, longer, 5)
    found = read_so_far(search_of(longer), directory, "t").history
    assert "analysis" not in found and len(found["trials"]) == 5


def test_of_several_methods_the_page_claims_none(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, latency_methods=("compiled", "roofline"))
    found = read_so_far(config, tmp_path / "missing", "micro")
    assert found.history["objectives"]["latency"]["method"] == "compiled or roofline"
    assert (found.ended, found.seconds_left) == (0, None)


def test_a_measured_latency_is_not_called_that_of_the_chip(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, latency_methods=("measured",))
    latency = read_so_far(config, tmp_path / "missing", "micro").history["objectives"]["latency"]
    assert (latency["method"], latency["chip"]) == ("measured", "the machine of the run")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"event": "other"}', "journal.jsonl:1: not an entry of the search journal"),
        ('{"event": "start", "trial": 0, "choices": [{"point": {"depth": 3}, "generator": "ax"}]}\n'
         '{"event": "completed", "trial": 0, "result": {"accuracy": 1.0, "latency_s": 0.1, "parameters": 3}}',
         "journal.jsonl: not the journal of the settings in config.json"),
    ],
)  # fmt: skip
def test_a_damaged_journal_is_one_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "journal.jsonl").write_text(line + "\n")
    with pytest.raises(RecordError, match=message) as error:
        read_so_far(CONFIG, tmp_path, "micro")
    assert "\n" not in str(error.value)
