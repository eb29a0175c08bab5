"""Processor time of others from a made-up /proc, and from a real process that hogs a core."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.latency import machine_state
from benchmark.latency.machine_state import Watch, busy_seconds, process_seconds, usable_cpus

TICK = os.sysconf("SC_CLK_TCK")


def write_proc(root: Path, work: int, own: dict[int, tuple[str, int]]) -> None:
    root.mkdir(exist_ok=True)
    lines = ["cpu  1 2 3 4 5 6 7 8 9 10"]
    # User, nice, system, idle, waiting, interrupts (2), stolen, guest (2).
    lines += [f"cpu{n} {work} 0 0 {10**6} {10**5} 0 0 0 0 0" for n in range(64)]
    (root / "stat").write_text("\n".join([*lines, "intr 1 2 3"]) + "\n")
    for number, (name, ticks) in own.items():
        (root / str(number)).mkdir(exist_ok=True)
        rest = ["S", "1", *["0"] * 9, str(ticks), "0", *["0"] * 30]
        (root / str(number) / "stat").write_text(f"{number} ({name}) {' '.join(rest)}\n")


def test_busy_time_counts_the_given_cores_and_no_idling(tmp_path: Path) -> None:
    write_proc(tmp_path, 5 * TICK, {})
    assert busy_seconds((0, 3), tmp_path) == 10.0
    assert busy_seconds((0,), tmp_path / "missing") is None
    (tmp_path / "stat").write_text("cpu0 1 2 3 4 5 6 7 8 9 10\n")
    assert busy_seconds((0,), tmp_path) == pytest.approx((1 + 2 + 3 + 6 + 7 + 8) / TICK)


def test_names_of_processes_may_contain_anything(tmp_path: Path) -> None:
    write_proc(tmp_path, 0, {7: ("a) b (c", 3 * TICK), 8: ("", TICK)})
    (tmp_path / "9").mkdir()
    (tmp_path / "9" / "stat").write_text("9 (cut")
    assert process_seconds(tmp_path) == {(7, "a) b (c"): 3.0, (8, ""): 1.0}


def test_others_are_what_this_process_did_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = {"wall": 0.0, "own": 0.0}
    monkeypatch.setattr(time, "perf_counter", lambda: now["wall"])
    monkeypatch.setattr(time, "process_time", lambda: now["own"])
    monkeypatch.setattr(machine_state, "usable_cpus", lambda: (0, 1))
    write_proc(tmp_path, 0, {7: ("hog\x1b", 0), 8: ("calm", 0)})
    watch = Watch(tmp_path)
    now |= {"wall": 10.0, "own": 8.0}
    # Each of the two cores worked for 9 seconds; 8 of these 18 were our own.
    write_proc(tmp_path, 9 * TICK, {7: ("hog\x1b", 9 * TICK), 8: ("calm", TICK // 10)})
    others = watch.others()
    assert others.cores == pytest.approx(1.0)
    assert others.busiest == "hog? (pid 7), 0.90 cores"


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    assert Watch(tmp_path).others() == machine_state.Others(None, None)


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux's /proc")
def test_a_process_that_hogs_a_core_is_seen() -> None:
    code = "import time\nend = time.time() + 30\nwhile time.time() < end: pass"
    hog = subprocess.Popen([sys.executable, "-c", code])
    try:
        time.sleep(0.3)
        watch = Watch()
        time.sleep(1.0)
        others = watch.others()
        took = watch_time(hog.pid)
    finally:
        hog.kill()
        hog.wait()
    assert others.cores is not None and others.busiest is not None
    # It had some of a core, however busy the machine is, and its time is part of what others took.
    assert took > 0.02
    assert others.cores > 0.02


def watch_time(pid: int) -> float:
    return next(seconds for (number, _), seconds in process_seconds().items() if number == pid)


def test_state_of_this_machine() -> None:
    found = machine_state.state()
    assert set(found) == {"load_average_1min", "cpu_governor", "cpu_mhz"}
    assert usable_cpus()
