"""The search journal: written lines are read back; torn and damaged lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.search.journal import Journal, read_trials
from tasks.system.errors import StageError


def test_journal_reads_what_it_wrote(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "search" / "journal.jsonl")
    one, two = journal.start([({"a": 1}, "sobol"), ({"a": 2}, "ax")])
    journal.finish(one, "completed", {"accuracy": 1.5})
    journal.finish(two, "failed", {"error": "diverged"})
    journal.start([({"a": 3}, "ax")])
    assert read_trials(journal.path) == journal.trials
    journal.close()
    again = Journal(journal.path)
    assert again.trials == journal.trials
    assert [t.status for t in again.trials] == ["completed", "failed", "running"]
    assert [t.number for t in again.trials] == [0, 1, 2]


@pytest.mark.parametrize(
    "torn", ['{"event": "completed", "tri', "{", '{"event": "completed", "result": {}, "trial": 0}']
)
def test_a_torn_last_line_is_dropped(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).start([({"a": 1}, "sobol")])
    whole = path.read_text()
    path.write_text(whole + torn)
    journal = Journal(path)
    assert [t.status for t in journal.trials] == ["running"]
    assert path.read_text() == whole
    journal.finish(journal.trials[0], "completed", {})
    assert [t.status for t in read_trials(path)] == ["completed"]


@pytest.mark.parametrize(
    "line",
    [
        "not JSON",
        "3",
        "{}",
        '{"event": "start", "trial": 5, "choices": []}',
        '{"event": "start", "trial": 1, "choices": [7]}',
        '{"event": "completed", "trial": 4, "result": {}}',
        '{"event": "lost", "trial": 0, "result": {}}',
        "\x00\udcff",
    ],
)
def test_a_damaged_line_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).start([({"a": 1}, "sobol")])
    path.write_bytes(path.read_bytes() + line.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(StageError) as caught:
        Journal(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert "\n" not in str(caught.value)
