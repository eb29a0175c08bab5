"""The page of a run that goes on or was interrupted: what its folder holds so far, built again when that changes.

The run's folder is only read, and its lock is left alone.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.config import ConfigError, SearchConfig
from benchmark.config.from_json import from_dict
from benchmark.records import verification
from benchmark.records.record import RecordError
from benchmark.records.strict_schema import strict_json
from benchmark.search.so_far import SoFar, read_so_far
from leaderboard.build import build
from leaderboard.load import Loaded, load
from tasks.system.errors import InputError
from tasks.system.file_lock import LOCK_FILE, is_locked
from tasks.system.progress import duration

# Folder of the page in that of the run, where no other is given.
PAGE_FOLDER = "watch"
# What a run writes when it gets on: the counted parts, and the rest.
_PARTS = {
    "student": "students/*/stage.json",
    "fine-tuning": "evaluation/*/*/seed*.json",
    "record": "results/*.json",
}
_MARKERS = ("data/data.json", "*/stage.json", *list(_PARTS.values())[:2])
_WATCHED = ("config.json", "search/journal.jsonl", "search/history.json", _PARTS["record"], *_MARKERS)

# Path, time and size of each watched file, and whether a process has the folder.
Signature = tuple[bool | None, tuple[tuple[str, int, int], ...]]


@dataclass(frozen=True)
class Watched:
    """A run as its folder shows it.

    Attributes:
        track: name and version of its track.
        embedded_data: True where its data are generated.
        search: its search; None for a run without one.
        state: `running`, `unfinished` (no process here works in the folder) or `finished`.
        parts: number of its students, fine-tunings and records.
        stages: the stages that have ended, among `data`, `teacher` and `search`.
        changed: time of the last change, as ISO 8601.
    """

    track: tuple[str, str]
    embedded_data: bool
    search: SoFar | None
    state: str
    parts: dict[str, int]
    stages: tuple[str, ...]
    changed: str

    @property
    def headline(self) -> str:
        """The state in a few words, as `running: 5 of 8 trials`."""
        counts = [plural(count, name) for name, count in self.parts.items() if count]
        if self.search is not None and (self.search.ended or "teacher" in self.stages):
            trials = f"{self.search.ended} of {self.search.total} trials"
            counts = [plural(self.search.ended, "trial"), *counts] if "search" in self.stages else [trials]
        return f"{self.state}: {', '.join(counts) or ', '.join(self.stages) or 'nothing yet'}"


def plural(count: int, noun: str) -> str:
    """Words a number of things."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def signature(run: Path) -> Signature:
    """Takes what changes whenever the page has to."""
    found = []
    for path in sorted({path for pattern in _WATCHED for path in run.glob(pattern)}):
        try:
            status = path.stat()
        except FileNotFoundError:  # replaced meanwhile
            continue
        found.append((str(path.relative_to(run)), status.st_mtime_ns, status.st_size))
    return is_locked(run / LOCK_FILE), tuple(found)


def read_run(run: Path) -> Watched:
    """Reads the state of a run from its folder.

    Raises:
        RecordError: it is not the folder of a run, or a file of it is damaged.
    """
    config = _settings(run)
    track = str(config["track"])
    locked, files = signature(run)
    search = None
    if config["search"] is not None:
        try:
            search = read_so_far(from_dict(SearchConfig, config["search"]), run / "search", track)
        except ConfigError as error:
            raise RecordError(f"{run / 'config.json'}: {error}; was it written by another version?") from None
    parts = {name: len(list(run.glob(pattern))) for name, pattern in _PARTS.items()}
    parts["student"] = len({path.parent.name.partition("@")[0] for path in run.glob(_PARTS["student"])})
    parts["record"] = len(_record_files(run))
    times = {name: time_ns for name, time_ns, _ in files}
    grows = search is not None and bool(search.running)
    state = "running" if locked else "finished" if not grows and _has_newest_records(run, times) else "unfinished"
    stages = {
        "data": run / "data" / "data.json",
        "teacher": run / "teacher" / "stage.json",
        "search": run / "search" / "stage.json",
    }
    ended = tuple(name for name, path in stages.items() if path.exists() and not (name == "search" and grows))
    changed = datetime.datetime.fromtimestamp(max(times.values()) / 1e9, datetime.UTC)
    return Watched(
        (track, str(config["track_version"])),
        config["data"]["source"] == "microworld",
        search,
        state,
        parts,
        ended,
        changed.isoformat(timespec="seconds"),
    )


def _settings(run: Path) -> dict[str, Any]:
    """Reads the settings in the folder of a run."""
    path = run / "config.json"
    if not run.is_dir():
        raise RecordError(f"{run}: {'not a folder' if run.exists() else 'missing'}; expected the --workdir of a run")
    if not path.is_file():
        raise RecordError(f"{run}: not the folder of a run, as it has no config.json; expected the --workdir of a run")
    try:
        config = strict_json(path.read_text(encoding="utf-8"))["config"]
        if all(name in config for name in ("track", "track_version", "search")) and "source" in config["data"]:
            return dict(config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: cannot be read: {error!r}") from None
    raise RecordError(f"{path}: not the settings of a run; expected track, track_version, data and search")


def _record_files(run: Path) -> list[Path]:
    results = run / "results"
    return verification.record_files(results) if results.is_dir() else []


def _has_newest_records(run: Path, times: dict[str, int]) -> bool:
    """Returns True where the records were made after everything that they are made of."""
    records = [times.get(str(path.relative_to(run)), 0) for path in _record_files(run)]
    markers = {str(path.relative_to(run)) for pattern in _MARKERS for path in run.glob(pattern)}
    return bool(records) and max(records) >= max((times.get(name, 0) for name in markers), default=0)


def page_data(watched: Watched, refresh_s: int) -> dict[str, Any]:
    """Computes what the page says of a run that is watched.

    Args:
        watched: the run.
        refresh_s: seconds after which an open page is loaded again.
    """
    search, counts = watched.search, [plural(count, name) for name, count in watched.parts.items() if count]
    trials, left = None, None
    if search is not None:
        others = {"running": search.running, "failed": search.failed}
        if watched.state != "running":
            others = {"begun, not ended": search.running, "failed": search.failed}
        notes = [f"{count} {name}" for name, count in others.items() if count]
        trials = ", ".join([f"{search.ended} of {search.total}", *notes])
        if search.seconds_left is not None and "search" not in watched.stages:
            left = f"about {duration(search.seconds_left)}"
    return {
        "state": watched.state,
        "trials": trials,
        "left": left,
        "done": ", ".join([*watched.stages, *counts]) or "nothing yet",
        "changed": watched.changed,
        "refresh_s": 0 if watched.state == "finished" else refresh_s,
        "track": watched.track[0],
        "track_version": watched.track[1],
        "embedded_data": watched.embedded_data,
    }


def build_page(run: Path, out: Path, refresh_s: int) -> tuple[Path, Watched]:
    """Builds the page of a run as it stands.

    Returns:
        Path of the page, and the run that it shows.

    Raises:
        RecordError: the folder is not that of a run, or its records cannot share a page.
    """
    watched = read_run(run)
    loaded = load(run / "results") if watched.parts["record"] else Loaded([])
    history = watched.search.history if watched.search is not None and watched.search.ended else None
    title = watched.headline[0].upper() + watched.headline[1:]
    data = page_data(watched, refresh_s)
    return build(loaded.records, out, title=title, history=history, watch=data, pairs=loaded.pairs), watched


def check_out(run: Path, out: Path) -> None:
    """Refuses a folder of the page in which the run itself writes.

    Raises:
        InputError: names the accepted folders.
    """
    inside = out.resolve().is_relative_to(run.resolve())
    if inside and not out.resolve().is_relative_to(run.resolve() / PAGE_FOLDER):
        raise InputError(
            f"--out={out}: in the folder of the run; accepted: {run / PAGE_FOLDER}, or one outside of {run}"
        )


def watch(run: Path, out: Path, tell: Callable[[str], None], *, every: int, once: bool = False) -> None:
    """Builds the page of a run, and again whenever its folder has changed, until the run has finished.

    Args:
        run: the run's folder.
        out: folder of the page.
        tell: receives one line for each page, and for each state of the folder that cannot be shown.
        every: seconds between two looks at the folder, and after which an open page is loaded again.
        once: builds the page once.

    Raises:
        RecordError: the folder is not that of a run, or cannot be shown when the command starts.
    """
    seen: Signature | None = None
    while True:
        now = signature(run)
        if now != seen:
            try:
                page, watched = build_page(run, out, 0 if once else every)
                tell(f"{watched.headline} -> {page}")
                if watched.state == "finished":
                    return
            except RecordError as error:
                # Records of a run that grows are replaced one after the other.
                if seen is None:
                    raise
                tell(f"the page stays as it was: {error}")
            seen = now
        if once:
            return
        time.sleep(every)
