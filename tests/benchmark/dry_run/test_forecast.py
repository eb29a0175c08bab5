"""Seconds and bytes of a forecast, the choice of what is calibrated, and what the report says of the machine."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.cli.gin_loader import load
from benchmark.dry_run import calibration, forecast
from benchmark.dry_run.calibration import Calibration, choose_programs, cut_batch
from benchmark.dry_run.costs import AGAIN, Costs, Measured, Seconds, call_formula, makespan
from benchmark.dry_run.done import Done
from benchmark.dry_run.memory import PROGRAM_BYTES, Memory, stage_peaks
from benchmark.dry_run.programs import Calls, Job, Program, StageWork
from benchmark.dry_run.rows import read_rows
from benchmark.dry_run.work import left_work
from run_benchmark import main
from tasks.system.errors import StageError
from tasks.system.repository import REPOSITORY

STAGES = ("data", "teacher", "search", "distill", "finetune", "latency", "record")
TINY = f"--gin_file={REPOSITORY / 'tests/e2e/tiny.gin'}"


@pytest.fixture(scope="module")
def loaded() -> Any:
    return load([str(REPOSITORY / "tests/e2e/tiny.gin")])


@pytest.fixture(scope="module")
def tiny(loaded: Any) -> Any:
    return loaded.config


@pytest.fixture
def step(tiny: Any) -> Program:
    return Program("finetune", tiny.teacher.encoder, 16, 32, "head")


def not_here(*_: object) -> Calibration:
    raise StageError("not here")


# Seconds.


def test_a_measured_program_costs_what_was_measured(step: Program) -> None:
    costs = Costs([Measured(step, Seconds(5.0, 6.0), Seconds(0.1, 0.15))], cores=2)
    work = StageWork("finetune", "", (Job("a", (Calls(step, 100), Calls(step, 20))),))
    # 120 calls, compiled once.
    assert costs.stage(work, set()).wall == pytest.approx(5.0 + 12.0)
    # What another job has compiled is read again.
    twice = StageWork("finetune", "", (Job("a", (Calls(step, 1),)), Job("b", (Calls(step, 1),))))
    assert costs.stage(twice, set()).wall == pytest.approx(0.2 + 5.0 + 5.0 * AGAIN)


def test_threads_are_no_faster_than_the_cores(step: Program) -> None:
    measured = Measured(step, Seconds(0.0001, 0.0001), Seconds(0.1, 0.15))
    jobs = tuple(Job(str(n), (Calls(dataclasses.replace(step, variant=str(n)), 100),)) for n in range(4))
    for workers, cores, expected in ((1, 2, 40.0), (2, 2, 30.0), (2, 8, 20.0), (4, 64, 10.0)):
        work = StageWork("finetune", "", jobs, workers)
        found = Costs([measured], cores).stage(work, set())
        assert (found.wall, found.cpu) == (pytest.approx(expected, rel=1e-3), pytest.approx(60.0, rel=1e-3))


def test_other_programs_are_scaled_by_the_most_similar(step: Program) -> None:
    small, large = dataclasses.replace(step, length=8), dataclasses.replace(step, length=512)
    slow, fast = Seconds(1.0, 1.0), Seconds(0.001, 0.001)
    costs = Costs([Measured(small, slow, slow), Measured(large, fast, fast)], cores=1)
    near = dataclasses.replace(large, length=448)
    ratio = call_formula(near) / call_formula(large)
    assert costs.call(near).wall == pytest.approx(0.001 * ratio)
    assert costs.call(dataclasses.replace(step, length=9)).wall > 1.0
    # A program that does not fit the memory has no time of its own.
    unknown = Costs([Measured(large, fast, None), Measured(small, slow, slow)], cores=1)
    assert unknown.call(large).wall > 1.0


@given(st.lists(st.floats(0.0, 100.0), max_size=12), st.integers(1, 5))
def test_makespan_is_between_its_bounds(seconds: list[float], workers: int) -> None:
    found = makespan(seconds, workers)
    least = max(sum(seconds) / workers, max(seconds, default=0.0))
    assert least - 1e-6 <= found <= least + max(seconds, default=0.0) + 1e-6
    assert makespan(seconds, 1) == pytest.approx(sum(seconds))


def test_timed_calls_keep_their_limits(step: Program) -> None:
    costs = Costs([Measured(step, Seconds(1e-6, 1e-6), Seconds(0.01, 0.01))], cores=1)
    for count, expected in ((10, 0.5), (100, 1.0), (1000, 2.0)):
        work = StageWork("latency", "", (Job("a", (Calls(step, count, 0.5, 2.0),)),))
        assert costs.stage(work, set()).wall == pytest.approx(expected, abs=1e-3)


# The choice of programs.


def test_few_programs_are_calibrated_and_none_where_nothing_is_left(tiny: Any, tmp_path: Path) -> None:
    tiny = dataclasses.replace(tiny, distill=tiny.distill.of_seed(0))
    left = left_work(tiny, STAGES, read_rows(tiny, tmp_path), Done())
    chosen = choose_programs(left)
    kinds = [program.kind for program in chosen]
    assert kinds[:3] == ["pretrain", "distill", "finetune"] and kinds[3:] in (["evaluate"], ["predict"], ["teacher"])
    # The teacher's fine-tuning of spans takes the most time.
    assert chosen[2].encoder == tiny.teacher.encoder and chosen[2].length == 64
    trained = [work for work in left if work.stage in ("data", "record")]
    assert choose_programs(trained) == []


def test_a_large_batch_is_cut_to_a_multiple_of_its_parts(tiny: Any) -> None:
    large = dataclasses.replace(tiny.teacher.encoder, hidden_size=1024, embedding_size=1024, intermediate_size=4096)
    program = Program("pretrain", large, 2048, 512)
    assert 1 <= cut_batch(program, 1) < 2048
    assert cut_batch(program, 4) % 4 == 0 and cut_batch(program, 2048) == 2048
    assert cut_batch(Program("pretrain", tiny.teacher.encoder, 8, 32), 1) == 8


# Memory.


def test_memory_adds_up(tiny: Any, step: Program) -> None:
    measured = Measured(step, Seconds(1.0, 1.0), Seconds(0.1, 0.1), work_bytes=1_000_000)
    costs = Costs([measured], cores=2)
    jobs = tuple(Job(str(n), (Calls(step, 10), Calls(step, 0, kept_bytes=7.0))) for n in range(3))

    def peak(workers: int, config: Any = tiny) -> Memory:
        return stage_peaks([StageWork("finetune", "", jobs, workers)], config, costs, 100, 10)["finetune"]

    one, two = peak(1), peak(2)
    assert one.work == pytest.approx(1_000_000) and two.work == pytest.approx(2_000_000)
    # One program is compiled, by each thread.
    assert two.states == 2 * one.states
    assert (one.process, two.process) == (110 + PROGRAM_BYTES, 120 + PROGRAM_BYTES)
    assert one.kept == 21
    limited = dataclasses.replace(tiny, trainer=dataclasses.replace(tiny.trainer, teacher_cache_bytes=5))
    assert peak(1, limited).kept == 5
    assert two.total == two.process + two.states + two.work + two.kept


def test_a_process_keeps_what_an_earlier_stage_took(tiny: Any, tmp_path: Path) -> None:
    left = left_work(tiny, STAGES, read_rows(tiny, tmp_path), Done())
    peaks = stage_peaks(left, tiny, Costs((), 2), 10**8, 10**7)
    totals = [peaks[stage].total for stage in STAGES[1:]]
    assert totals == sorted(totals) and totals[0] > 10**8
    programs = {calls.program for job in left[1].every_job for calls in job.calls}
    assert peaks["teacher"].process == 10**8 + 10**7 + len(programs) * PROGRAM_BYTES


def test_too_little_memory_is_a_warning(tiny: Any, step: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [StageWork("finetune", "3 systems", (Job("a", (Calls(step, 100),)),))]
    for room, warned in ((10**6, True), (10**12, False), (None, False)):
        monkeypatch.setattr(forecast, "available_bytes", lambda room=room: room)
        lines = list(forecast.table_lines(left, tiny, Costs((), 2), None))
        assert any(line.startswith("WARNING: finetune may take") for line in lines) is warned


# The report.


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"),
        (89.0, "89 s"),
        (200.0, "3 min 20 s"),
        (7_500.0, "2 h 05 min"),
        (170_000.0, "47 h 13 min"),
        (1_000_000.0, "11 d 14 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert forecast.duration(seconds) == text


def test_the_table_has_every_stage_and_their_sum(tiny: Any, tmp_path: Path) -> None:
    done = Done(data=True, teacher=True)
    left = left_work(tiny, STAGES, read_rows(tiny, tmp_path), done)
    lines = list(forecast.table_lines(left, tiny, Costs((), 2), None))
    assert [line.split()[0] for line in lines[: 1 + len(STAGES)]] == ["stage", *STAGES]
    assert [line.split()[-1] for line in lines[1:3]] == ["done", "done"]
    assert lines[1 + len(STAGES)].startswith("in all")
    nothing = list(forecast.table_lines(left[:2], tiny, Costs((), 2), None))
    assert len(nothing) == 3


@pytest.mark.parametrize(
    ("there", "methods", "words"),
    [
        (False, ("compiled", "roofline"), "libtpu is not installed; the search takes the latency by roofline"),
        (True, ("compiled", "roofline"), "libtpu is installed; the search asks it for the latency of cpu_2core"),
        (False, ("roofline",), "libtpu is not installed; not used"),
    ],
)
def test_the_machine(tiny: Any, there: bool, methods: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object() if there else None)
    config = dataclasses.replace(tiny, search=dataclasses.replace(tiny.search, latency_methods=methods))
    cores, ray, libtpu = forecast.machine_lines(config, STAGES)
    assert "cores, " in cores and "available" in cores
    assert ray == f"Ray is {'installed' if there else 'not installed'}; not used"
    assert words in libtpu


def run_dry(monkeypatch: pytest.MonkeyPatch, folder: Path, calibrate: Callable[..., Any], *more: str) -> int:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(calibration, "calibrate", calibrate)
    return main([TINY, "--dry_run", *more])


def test_a_dry_run_forecasts_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny: Any
) -> None:
    def calibrate(config: Any, text: str, programs: Any) -> Calibration:
        assert config == tiny and "tiny" not in text
        found = tuple(Measured(program, Seconds(1.0, 1.0), Seconds(0.01, 0.01), 10**6) for program in programs)
        return Calibration(found, len(programs), 12.3, "cpu", 1, None, 10**8, 10**7, 0.25)

    assert run_dry(monkeypatch, tmp_path, calibrate) == 0
    out = capsys.readouterr().out
    assert "\nsearch: 8 architectures, 8 within max_parameters = any, " in out
    lines = [line for line in out.splitlines() if line.startswith("forecast: ")]
    assert "forecast: calibrated with 4 of 4 programs in 12 s on cpu; other processes took 0.2 cores meanwhile" in lines
    assert any(line.startswith("forecast: in all") and "within a factor of 1.5," in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_whose_calibration_fails_is_rough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_dry(monkeypatch, tmp_path, not_here, "--stages=teacher") == 0
    out = capsys.readouterr().out
    assert "forecast: not calibrated, times and memory are rough: not here" in out and " rough, where nothing" in out


CHILD = """
import json, sys, time
asked = json.loads(sys.stdin.read())["programs"]
process = {"device": "cpu", "devices": 1, "device_bytes": None, "base_bytes": 1, "compile_bytes": 2, "other_cores": 0.5}
for number in range(COUNT):
    figures = {"compiling": [1.5 + number, 2.0], "call": None if number else [0.1, 0.2], "work_bytes": 3}
    print(json.dumps({"program": figures, "process": process}), flush=True)
END
"""


@pytest.mark.parametrize(
    ("count", "end", "words"),
    [(2, "", ""), (2, "time.sleep(60)", ""), (0, "time.sleep(60)", "more than"), (0, "raise OSError('x')", "code 1")],
)
def test_what_was_measured_in_time_is_taken(
    loaded: Any, step: Program, count: int, end: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = [sys.executable, "-c", CHILD.replace("COUNT", str(count)).replace("END", end)]
    monkeypatch.setattr(calibration, "_CHILD", child)
    monkeypatch.setattr(calibration, "TIMEOUT_S", 5.0)
    if words:
        with pytest.raises(StageError, match=words):
            calibration.calibrate(loaded.config, loaded.text, [step] * 3)
        return
    found = calibration.calibrate(loaded.config, loaded.text, [step] * 3)
    # The second one waited half a second for other processes.
    assert [m.compiling for m in found.measured] == [Seconds(1.5, 2.0), Seconds(2.0, 2.0)]
    assert [m.call for m in found.measured] == [Seconds(0.1, 0.2), None]
    assert (found.asked, found.device, found.compile_bytes, found.other_cores) == (3, "cpu", 2, 0.5)


@pytest.mark.slow
def test_every_kind_of_program_is_measured(loaded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "TIMEOUT_S", 600.0)
    left = left_work(loaded.config, STAGES, read_rows(loaded.config, tmp_path), Done())
    programs = choose_programs(left)
    found = calibration.calibrate(loaded.config, loaded.text, programs)
    assert [m.program for m in found.measured] == programs
    for measured in found.measured:
        assert measured.call is not None
        assert 0 < measured.call.wall < measured.compiling.wall
    assert found.base_bytes > 10**8 and found.compile_bytes > 0 and found.device_bytes is None
