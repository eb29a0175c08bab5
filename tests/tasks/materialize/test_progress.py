"""The display of progress: the share that is done, lines elsewhere, a bar on a terminal."""

import io
import lzma
import sys

import pytest

from tasks.materialize import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_state_as_a_line():
    assert progress.State("wiki", 12_288, 3456.7, 0.42).line() == "wiki: 12,288 rows (42%), 3,457 rows/s"
    assert progress.State("wiki", 10, 5.0, None).line() == "wiki: 10 rows, 5 rows/s"


def test_share_follows_the_files(tmp_path, clock):
    """The first file is read to its end and closed, the second half read through a decompressor."""
    first, second = tmp_path / "a.txt", tmp_path / "b.xz"
    first.write_bytes(bytes(300_000))
    content = bytes(range(256)) * 1000
    second.write_bytes(lzma.compress(content, preset=0) + bytes(2**20))
    states = []
    meter = progress.Meter("step", [first, second], 0, states.append)

    def share():
        clock[0] += 1
        meter.update(100)
        return states[-1].share

    assert share() == 0.0
    total = first.stat().st_size + second.stat().st_size
    with first.open("rb", buffering=0) as file:
        file.read(200_000)
        assert share() == pytest.approx(200_000 / total)
        file.read()
    assert share() == pytest.approx(300_000 / total)
    with second.open("rb") as raw, lzma.open(raw) as file:
        file.read(len(content) // 2)
        assert 300_000 / total < share() < 0.9
    assert share() == 1.0
    assert states[-1].rate == pytest.approx(100 / 5)


def test_limit_ends_the_work_before_the_file_does(tmp_path, clock):
    path = tmp_path / "a.txt"
    path.write_bytes(b"text")
    states = []
    meter = progress.Meter("step", [path], 50, states.append)
    clock[0] += 1
    meter.update(25)
    assert states[-1].share == 0.5


def test_states_come_a_few_times_a_second(tmp_path, clock):
    states = []
    meter = progress.Meter("step", [], 0, states.append)
    for rows in range(1, 101):
        clock[0] += 0.01
        meter.update(rows)
    assert 2 <= len(states) <= 4
    assert {state.share for state in states} == {None}


def test_lines_come_every_few_seconds(clock):
    written = []
    show = progress.lines(written.append)
    for rows in range(60):
        clock[0] += 0.25
        show(progress.State("step", rows, 1.0, None))
    assert len(written) == 3


def test_no_bar_without_a_terminal(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    written = []
    with progress.display(written.append) as show:
        clock[0] += 6
        show(progress.State("step", 7, 2.0, 0.5))
    assert written == ["step: 7 rows (50%), 2 rows/s"]
    assert sys.stderr.getvalue() == ""


def test_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stderr", Terminal())
    written = []
    with progress.display(written.append) as show:
        for rows in (1000, 2000):
            show(progress.State("SST-2 train", rows, 500.0, rows / 4000))
    shown = sys.stderr.getvalue()
    assert "SST-2 train" in shown and "2,000 rows (50%), 500 rows/s" in shown
    assert written == []
