"""Energy of calls, where the machine offers a counter: RAPL for processors, NVML for NVIDIA's accelerators.

A counter gives the energy since some moment, of a whole package or device: other work in a window is included, and
idle power is not subtracted. Without a counter there is no energy; nothing is guessed from power limits.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.latency.timing import Timed

POWERCAP = Path("/sys/class/powercap")
# A window lasts at least this many periods of the counter.
_PERIODS = 50
# A counter that does not move within this time is ignored.
_PATIENCE_S = 2.0


@dataclass(frozen=True)
class Counter:
    """An energy counter.

    Attributes:
        name: a description of it.
        read: returns joules for each of its parts since some moment.
        wraps: joules at which each part wraps to zero; None for never.
    """

    name: str
    read: Callable[[], tuple[float, ...]]
    wraps: tuple[float | None, ...]

    def between(self, before: tuple[float, ...], after: tuple[float, ...]) -> float:
        """Computes the joules between two readings that are less than one round of the counter apart."""
        total = 0.0
        for first, last, wrap in zip(before, after, self.wraps, strict=True):
            total += last - first if last >= first or wrap is None else last - first + wrap
        return total


def rapl(root: Path = POWERCAP) -> Counter | None:
    """Finds the processor packages in Linux's powercap tree; None where there are none or they are not readable."""
    packages = []
    for zone in sorted(root.glob("intel-rapl:*")):
        try:
            # Zones with two colons are parts of packages and would be counted twice.
            if zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package"):
                wrap = int((zone / "max_energy_range_uj").read_text()) * 1e-6
                int((zone / "energy_uj").read_text())
                packages.append((zone / "energy_uj", wrap))
        except (OSError, ValueError):
            return None
    if not packages:
        return None

    def read() -> tuple[float, ...]:
        return tuple(int(path.read_text()) * 1e-6 for path, _ in packages)

    return Counter(f"RAPL, {len(packages)} package(s)", read, tuple(wrap for _, wrap in packages))


def nvml(index: int = 0, library: str = "libnvidia-ml.so.1") -> Counter | None:
    """Finds the total energy of an NVIDIA device, by the library of its driver; None where it has no counter.

    Args:
        index: number of the device among those of this process.
        library: name of the shared library.
    """
    try:
        nvidia = ctypes.CDLL(library)
        visible = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part]
        number = int(visible[index]) if visible else index
        handle, energy = ctypes.c_void_p(), ctypes.c_ulonglong()
        if nvidia.nvmlInit_v2() or nvidia.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle)):
            return None
        if nvidia.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(energy)):
            return None
    # No library, a device that is named and not numbered, an old driver.
    except (OSError, AttributeError, ValueError, IndexError):
        return None

    def read() -> tuple[float, ...]:
        nvidia.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(energy))
        return (energy.value * 1e-3,)

    return Counter("NVML total energy", read, (None,))


def find_counter(platform: str, root: Path = POWERCAP) -> Counter | None:
    """Finds the counter of a platform: the packages for `cpu`, NVML for `gpu` or `cuda`, else None."""
    if platform == "cpu":
        return rapl(root)
    return nvml() if platform in ("gpu", "cuda") else None


def period(counter: Counter) -> float | None:
    """Measures the longest of four periods between movements of a counter; None where one takes two seconds."""
    last, moved, longest = counter.read(), 0, 0.0
    started = time.perf_counter()
    while moved < 5:
        if time.perf_counter() - started > _PATIENCE_S:
            return None
        if (now := counter.read()) != last:
            # The first period began before the measurement.
            longest = max(longest, time.perf_counter() - started) if moved else 0.0
            last, moved, started = now, moved + 1, time.perf_counter()
    return longest


def joules_per_call(counter: Counter, run: Timed, seconds: float, first: int = 0) -> float | None:
    """Measures the mean energy of consecutive calls of one program.

    The window begins where the counter moves, and is so long that the energy which the counter lags behind at the end
    is at most 2 %.

    Args:
        counter: the counter.
        run: the program.
        seconds: the shortest window.
        first: number of the first input.

    Returns:
        Joules for each call; None where the counter does not move.
    """
    step = period(counter)
    if step is None:
        return None
    before, started, calls = counter.read(), time.perf_counter(), 0
    while time.perf_counter() - started < max(seconds, _PERIODS * step):
        run(first + calls)
        calls += 1
    joules = counter.between(before, counter.read())
    return joules / calls if joules > 0 else None
