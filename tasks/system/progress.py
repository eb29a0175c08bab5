"""Progress of long steps: bars on a terminal, one for each step, and the wording of their times."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Name of the step, the work done, all of its work (None where it is unknown), and the text next to the bar.
Show = Callable[[str, float, float | None, str], None]


def duration(seconds: float) -> str:
    """Words a time: `90 s`, `15 min`, `3.4 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 120 * 60 else f"{seconds / 3600:.1f} h"


@contextmanager
def display() -> Iterator[Show | None]:
    """Yields a function that shows bars if standard error is a terminal, else None.

    Yields:
        A `Show`, which any thread may call: draws the bar of a step, and removes it where all is done. Without a bar
        the terminal is not touched, so that others may draw.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
    lock, shown = threading.Lock(), dict[str, TaskID]()
    # Lines on standard output that goes to a file stay there.
    options: dict[str, Any] = {"transient": True, "redirect_stdout": sys.stdout.isatty()}
    bars = Progress(*columns, console=Console(stderr=True), **options)

    def show(name: str, done: float, total: float | None, text: str) -> None:
        with lock:
            if total is None or done < total:
                if not shown:
                    bars.start()
                if name not in shown:
                    shown[name] = bars.add_task(name, total=total, text=text)
                bars.update(shown[name], completed=done, text=text)
            elif name in shown:
                bars.remove_task(shown.pop(name))
                if not shown:
                    bars.stop()

    try:
        yield show
    finally:
        bars.stop()
