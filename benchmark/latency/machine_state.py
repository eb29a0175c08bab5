"""Other activity of the machine during a measurement: load, clocks, processor time of other processes.

Read from Linux's /proc and /sys; where those are absent, values are None and nothing is refused.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_CPUS = Path("/sys/devices/system/cpu")
# Fields of a line of /proc/stat that are not work: idle and waiting. Guest time is part of user time.
_IDLE, _IO_WAIT, _LAST = 3, 4, 8


def usable_cpus() -> tuple[int, ...]:
    """Returns the numbers of the processor cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return tuple(sorted(affinity(0))) if affinity else tuple(range(os.cpu_count() or 1))


def state() -> dict[str, str | float | None]:
    """Reads the load average of the last minute, governor and clock of the first usable core."""
    scaling = _CPUS / f"cpu{usable_cpus()[0]}" / "cpufreq"
    clock = _text(scaling / "scaling_cur_freq")
    return {
        "load_average_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "cpu_governor": _text(scaling / "scaling_governor") or None,
        "cpu_mhz": round(int(clock) / 1000, 1) if clock.isdigit() else None,
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def busy_seconds(cpus: tuple[int, ...], proc: Path = PROC) -> float | None:
    """Reads the busy seconds of these cores since the machine started, time taken by a hypervisor included."""
    names = {f"cpu{number}" for number in cpus}
    total, seen = 0, 0
    for line in _text(proc / "stat").splitlines():
        name, *fields = line.split()
        if name in names:
            values = [int(field) for field in fields[:_LAST]]
            total += sum(values) - values[_IDLE] - values[_IO_WAIT]
            seen += 1
    return total / os.sysconf("SC_CLK_TCK") if seen else None


def process_seconds(proc: Path = PROC) -> dict[tuple[int, str], float]:
    """Reads the processor seconds of every visible process, by its number and name."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for path in proc.glob("[0-9]*/stat"):
        # A process may end while it is read; its name is in parentheses and may contain anything.
        with contextlib.suppress(ValueError, IndexError):
            head, _, rest = _text(path).rpartition(")")
            number, _, name = head.partition(" (")
            fields = rest.split()
            found[int(number), name] = (int(fields[11]) + int(fields[12])) / tick
    return found


@dataclass(frozen=True)
class Others:
    """Processor time of other processes during a window.

    Attributes:
        cores: cores that they kept busy on average; None where the machine does not say.
        busiest: a description of the one that took most; None where none was seen.
    """

    cores: float | None
    busiest: str | None


class Watch:
    """A watch on the processor time that other processes take of this process's cores."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc, self._cpus = proc, usable_cpus()
        self._started, self._own = time.perf_counter(), time.process_time()
        self._busy, self._processes = busy_seconds(self._cpus, proc), process_seconds(proc)

    def others(self) -> Others:
        """Returns the processor time that others took since the watch was made."""
        seconds = time.perf_counter() - self._started
        own = time.process_time() - self._own
        busy = busy_seconds(self._cpus, self._proc)
        if busy is None or self._busy is None or seconds <= 0:
            return Others(None, None)
        cores = max(0.0, (busy - self._busy - own) / seconds)
        took = {
            key: value - self._processes.get(key, 0.0)
            for key, value in process_seconds(self._proc).items()
            if key[0] != os.getpid()
        }
        (number, name), most = max(took.items(), key=lambda item: item[1], default=((0, ""), 0.0))
        shown = "".join(c if c.isprintable() else "?" for c in name)
        busiest = f"{shown} (pid {number}), {most / seconds:.2f} cores" if most > 0.05 * seconds else None
        return Others(round(cores, 3), busiest)
