"""Energy counters on a made-up powercap tree and on counters that move with a made-up clock."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from benchmark.latency import energy
from benchmark.latency.energy import Counter, find_counter, joules_per_call, nvml, period, rapl


def zone(root: Path, name: str, label: str, microjoules: int, wrap: int = 262_143_328_850) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{label}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{wrap}\n")
    return folder


def test_packages_are_added_and_their_parts_are_not(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 3_000_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 7_000_000)
    zone(tmp_path, "intel-rapl:2", "psys", 99_000_000)
    zone(tmp_path, "dtpm", "package-9", 1)
    counter = rapl(tmp_path)
    assert counter is not None and counter.name == "RAPL, 2 package(s)"
    before = counter.read()
    assert before == (5.0, 7.0)
    (first / "energy_uj").write_text("6500000\n")
    assert counter.between(before, counter.read()) == pytest.approx(1.5)


def test_a_counter_that_starts_again(tmp_path: Path) -> None:
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 9_000_000, wrap=10_000_000)
    counter = rapl(tmp_path)
    assert counter is not None
    before = counter.read()
    (folder / "energy_uj").write_text("500000\n")
    assert counter.between(before, counter.read()) == pytest.approx(1.5)


@pytest.mark.parametrize("broken", ["energy_uj", "name", "max_energy_range_uj"])
def test_what_cannot_be_read_is_no_counter(tmp_path: Path, broken: str) -> None:
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    (folder / broken).unlink()
    assert rapl(tmp_path) is None
    (folder / broken).write_text("not a number")
    if broken != "name":
        assert rapl(tmp_path) is None


def test_without_a_tree_or_a_driver_there_is_none(tmp_path: Path) -> None:
    assert rapl(tmp_path) is None
    assert find_counter("cpu", tmp_path / "missing") is None
    assert find_counter("tpu", tmp_path) is None
    assert nvml(library="libno-such-library.so.1") is None
    # A library without the functions.
    assert nvml(library="libc.so.6") is None


class Machine:
    """A clock, and a counter of 20 watts that is updated every tenth of a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, every: float = 0.1, watts: float = 20.0) -> None:
        self.now, self.every, self.watts, self.calls = 0.0, every, watts, 0
        monkeypatch.setattr(time, "perf_counter", self.tick)

    def tick(self) -> float:
        # Looking at the clock takes time too, so that waiting ends.
        self.now += 0.001
        return self.now

    def read(self) -> tuple[float, ...]:
        return (int(self.now / self.every) * self.every * self.watts,)

    def run(self, i: int) -> int:
        assert i == 7 + self.calls
        self.calls += 1
        self.now += 0.01
        return 10_000_000


def test_energy_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    counter = Counter("made up", machine.read, (None,))
    assert period(counter) == pytest.approx(0.1, rel=0.05)
    found = joules_per_call(counter, machine.run, 0.5, first=7)
    # A call takes 10 ms and the look at the clock 1 ms; the window is at least 50 periods long.
    assert machine.calls * 0.011 >= 50 * 0.1
    assert found == pytest.approx(20.0 * 0.011, rel=0.025)


def test_a_counter_that_stands_still_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, watts=0.0)
    assert joules_per_call(Counter("made up", machine.read, (None,)), machine.run, 0.5, first=7) is None
    assert machine.calls == 0


NVML = """
#include <stddef.h>
static unsigned long long millijoules = 1000;
static int device;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **handle) {
  device = index;
  *handle = &device;
  return index > 3;
}
int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *energy) {
  if (handle != &device) return 2;
  millijoules += 250 + 1000 * device;
  *energy = millijoules;
  return 0;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_nvml_through_a_library_with_its_functions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = tmp_path / "libmade-up.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)], input=NVML, text=True, check=True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    counter = nvml(library=str(library))
    assert counter is not None
    before = counter.read()
    assert counter.between(before, counter.read()) == pytest.approx(0.25)
    # The first device of this process is the machine's third.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1")
    counter = nvml(library=str(library))
    assert counter is not None
    before = counter.read()
    assert counter.between(before, counter.read()) == pytest.approx(2.25)
    for hidden in ("GPU-8b1f", "9"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert nvml(library=str(library)) is None


def test_the_real_machine_answers_or_says_that_it_cannot() -> None:
    counter = rapl(energy.POWERCAP)
    assert counter is None or all(value >= 0 for value in counter.read())
