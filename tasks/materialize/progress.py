"""Progress of long steps: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tasks.system import progress as terminal

Progress = Callable[[str], None]

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_STATES = 0.25


@dataclass(frozen=True)
class State:
    """The progress of a step."""

    step: str
    # The number of rows written.
    rows: int
    # Rows per second since the start of the step.
    rate: float
    # The part of the work that is done, from 0 to 1; None where it is unknown.
    share: float | None

    def line(self) -> str:
        """Writes the state as text."""
        share = "" if self.share is None else f" ({self.share:.0%})"
        return f"{self.step}: {self.rows:,} rows{share}, {self.rate:,.0f} rows/s"


ShowState = Callable[[State], None]


class Meter:
    """The meter of a step that reads files and writes rows.

    The share that is done comes from the positions in the open source files, which the operating system knows: readers
    need not count, and compressed files count too.
    """

    def __init__(self, step: str, sources: Iterable[Path], limit: int, show: ShowState) -> None:
        """Starts the clock.

        Args:
            step: the name of the step.
            sources: the files that it reads.
            limit: the number of rows that ends the step before the files do (0: none).
            show: gets a state a few times a second.
        """
        self._step, self._limit, self._show = step, limit, show
        self._sizes = {str(path.resolve()): path.stat().st_size for path in sources}
        self._positions = dict.fromkeys(self._sizes, 0)
        self._start = self._shown = time.perf_counter()

    def update(self, rows: int) -> None:
        """Shows the state, unless it was shown just now.

        Args:
            rows: the number of rows written so far.
        """
        now = time.perf_counter()
        if now - self._shown < _SECONDS_BETWEEN_STATES:
            return
        self._shown = now
        self._show(State(self._step, rows, rows / (now - self._start), self._share(rows)))

    def _share(self, rows: int) -> float | None:
        total = sum(self._sizes.values())
        if not total:
            return None
        opened = {file.path: file.position for file in psutil.Process().open_files() if file.path in self._sizes}
        for path, position in self._positions.items():
            # A file that was open and is open no longer has been read to its end.
            self._positions[path] = opened.get(path, self._sizes[path] if position else 0)
        read = sum(self._positions.values()) / total
        return min(1.0, max(read, rows / self._limit if self._limit else 0.0))


@contextmanager
def display(progress: Progress) -> Iterator[ShowState]:
    """Yields a function that shows states: as a bar if standard error is a terminal, else as lines.

    Args:
        progress: gets the lines, at most one every few seconds.

    Yields:
        The function.
    """
    with terminal.display() as show:
        yield lines(progress) if show is None else _bar(show)


def _bar(show: terminal.Show) -> ShowState:
    """Makes a function that shows states as the bar of one step at a time."""
    current = ""

    def show_state(state: State) -> None:
        nonlocal current
        if current not in ("", state.step):
            show(current, 1.0, 1.0, "")
        current = state.step
        text = state.line().removeprefix(f"{state.step}: ")
        if not state.share:
            show(state.step, 0.0, None if state.share is None else 1.0, text)
            return
        left = state.rows * (1.0 / state.share - 1.0) / max(state.rate, 1e-9)
        # A full bar would be removed, but the last rows of the file may not be written yet.
        show(state.step, min(state.share, 0.999), 1.0, f"{text}, {left:.0f} s left")

    return show_state


def lines(progress: Progress) -> ShowState:
    """Makes a function that shows states as lines.

    Args:
        progress: gets at most one line every few seconds.

    Returns:
        The function.
    """
    shown = time.perf_counter()

    def show(state: State) -> None:
        nonlocal shown
        now = time.perf_counter()
        if now - shown >= _SECONDS_BETWEEN_LINES:
            shown = now
            progress(state.line())

    return show
