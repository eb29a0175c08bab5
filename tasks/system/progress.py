"""Progress bars on a terminal, one for each long step that is going on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Name of the step, how much is done, of how much (None where nobody can tell), and words that stand beside the bar.
Show = Callable[[str, float, float | None, str], None]


@contextmanager
def display() -> Iterator[Show | None]:
    """Gives a function that shows bars if standard error is a terminal, else None.

    Yields:
        A `Show`, which any thread may call: draws the bar of a step, and takes it away where all is done. The
        terminal is left alone while there is no bar, so that others may draw.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"))
    lock, shown = threading.Lock(), dict[str, TaskID]()
    # Lines on standard output that goes to a file stay there.
    options: dict[str, Any] = {"transient": True, "redirect_stdout": sys.stdout.isatty()}
    bars = Progress(*columns, console=Console(stderr=True), **options)

    def show(name: str, done: float, total: float | None, words: str) -> None:
        with lock:
            if total is None or done < total:
                if not shown:
                    bars.start()
                if name not in shown:
                    shown[name] = bars.add_task(name, total=total, words=words)
                bars.update(shown[name], completed=done, words=words)
            elif name in shown:
                bars.remove_task(shown.pop(name))
                if not shown:
                    bars.stop()

    try:
        yield show
    finally:
        bars.stop()
