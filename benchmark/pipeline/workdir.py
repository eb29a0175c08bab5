"""A run's folder: the stage markers that make a run resumable, and the lock that keeps a second process out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.config import RunConfig, fingerprint, to_dict
from benchmark.config.checks import result_settings
from benchmark.pipeline.growth import grows
from benchmark.pipeline.settings_changes import changes
from benchmark.search.journal import read_trials, refuse_cut_group
from benchmark.training import distributed
from tasks.system.atomic_write import write_text
from tasks.system.errors import InputError, StageError
from tasks.system.file_lock import LOCK_FILE, try_lock
from tasks.system.folders import remove_folder

if TYPE_CHECKING:
    from benchmark.pipeline.cache import SharedStage

# Markers of stages and of their parts, and records of which only a copy is left.
_MARKERS = ("*/stage.json", "students/*/stage.json", "evaluation/*/*/*.json", "results/*.json")


class RunError(InputError):
    """A run that cannot start or continue; the message is one line."""


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file of this run.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path}: missing; run the earlier stages first (--stages)") from None
    except ValueError as error:
        raise RunError(f"{path}: damaged ({error}); remove it and run the same command again") from None


def read_entry(path: Path, *names: str) -> Any:
    """Reads one entry of a JSON file of this run, as in `read_entry(path, "result", "found")`.

    Raises:
        RunError: the file is missing or damaged, or has no such entry.
    """
    value = read_json(path)
    for name in names:
        if not isinstance(value, dict) or name not in value:
            raise RunError(f"{path}: damaged (without {'.'.join(names)}); remove it and run its stage again")
        value = value[name]
    return value


def finished(
    path: Path, stage_fingerprint: str, holds: tuple[str, ...] = ("result", "seconds")
) -> dict[str, Any] | None:
    """Reads the marker at `path` if it belongs to the same settings and has the entries `holds`, else gives None."""
    if not path.exists():
        return None
    marker = read_json(path)
    whole = isinstance(marker, dict) and marker.keys() >= {"fingerprint", *holds}
    return marker if whole and marker["fingerprint"] == stage_fingerprint else None


def run_stage_once(
    path: Path,
    stage_fingerprint: str,
    work: Callable[[], dict[str, Any]],
    progress: Callable[[str], None],
    name: str,
    *,
    directory: Path | None = None,
    directory_fingerprint: str | None = None,
    all_processes: bool = False,
    shared: SharedStage | None = None,
) -> dict[str, Any]:
    """Runs a stage, or a part of one, unless its marker shows that it ended with the same settings.

    Where the cache of results has what the stage would make, it is taken from there, with the seconds of the call that
    made it.

    Args:
        path: the marker; it is written last, so it stands for the whole work.
        stage_fingerprint: of everything the work depends on.
        work: returns the values that later stages need, as JSON. `cached_seconds` among them is the time that others
            took for what it found in the cache, and is added to its own; `timing` has figures that depend on the clock,
            which the marker holds beside the result.
        progress: receives progress lines.
        name: shown in progress lines.
        directory: folder of the checkpoints from which an interrupted call resumes; it is emptied first when they
            belong to other inputs (another fingerprint).
        directory_fingerprint: of what these checkpoints depend on, where that is less than the whole work does.
        all_processes: True where all processes of a distributed run do this work; process 0 decides and writes.
        shared: the result in the cache; None where there is no cache for it.

    Returns:
        The marker: `result`, `seconds` and `reused`, and `cached` = True where it came from the cache.
    """
    writes = not all_processes or distributed.is_leader()
    marker = finished(path, stage_fingerprint) if writes else None
    origin: dict[str, bool] = {}
    if marker is None and writes and shared is not None and shared.take(path):
        marker, origin = finished(path, stage_fingerprint), {"cached": True}
        progress(f"{name}: taken from the cache {shared.cache.folder}")
    if all_processes:
        marker = distributed.broadcast(marker)
    if marker is not None:
        if not origin:
            progress(f"{name}: reused")
        return {**marker, "reused": True, **origin}
    started = time.perf_counter()
    whole = True
    if directory is not None and writes:
        whole = start_folder(directory, directory_fingerprint or stage_fingerprint, shared.key if shared else None)
    if all_processes:
        distributed.wait(f"{name} begins")
    result = work()
    seconds = round(time.perf_counter() - started + result.pop("cached_seconds", 0.0), 3)
    timing = {"timing": result.pop("timing")} if "timing" in result else {}
    marker = {"fingerprint": stage_fingerprint, "result": result, "seconds": seconds, **timing}
    if writes:
        write_json(path, marker)
        if shared is not None and whole:
            shared.store(path, seconds)
    if all_processes:
        distributed.wait(f"{name} is done")
    return {**marker, "reused": False}


@contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Holds the folder's lock, which dies with the process.

    Raises:
        RunError: another process holds it, or the folder cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / LOCK_FILE).open("w")
    except OSError as error:
        raise RunError(f"--workdir={workdir}: cannot be written: {error.strerror}; choose another folder") from None
    with lock as file:
        try:
            free = try_lock(file)
        except OSError as error:
            raise RunError(
                f"--workdir={workdir}: its file system has no file locks ({error.strerror}); choose a folder on one"
                " that has"
            ) from None
        if not free:
            raise RunError(f"{workdir}: another process is running here; wait for it or choose another --workdir")
        yield


def start_folder(directory: Path, stage_fingerprint: str, key: str | None = None) -> bool:
    """Prepares the folder of the checkpoints from which an interrupted call resumes.

    It is emptied when they belong to other inputs (another fingerprint).

    Args:
        directory: the folder.
        stage_fingerprint: of what the checkpoints depend on.
        key: of the cache of results, which knows of more: code, versions, numerics.

    Returns:
        True where what comes out has been made under this key alone: the folder was empty, or begun with the same one.
    """
    begun = directory / "begun.json"
    there = finished(begun, stage_fingerprint, ()) if directory.exists() else None
    if there is not None:
        if there.get("key") == key:
            return key is not None
        # From here on it is the work of two; which of them goes on later makes no difference.
        write_json(begun, {"fingerprint": stage_fingerprint})
        return False
    if directory.exists():
        remove_folder(directory)
    write_json(begun, {"fingerprint": stage_fingerprint, **({} if key is None else {"key": key})})
    return True


def _has_results(workdir: Path) -> bool:
    """Returns True where a stage, or a part of one, has ended."""
    return any(any(workdir.glob(pattern)) for pattern in _MARKERS)


def adds_to_run(workdir: Path, config: RunConfig) -> bool:
    """Tells if a folder holds a run of other settings to which these add; writes nothing.

    A folder in which no stage has ended is taken over by other settings: what was refused in it need not be removed
    before the corrected command.

    Raises:
        RunError: the folder holds a run of other settings, and the message names those that differ; or a search that
            cannot be continued.
    """
    path = workdir / "config.json"
    if not path.exists() or finished(path, fingerprint(config), ()) is not None or not _has_results(workdir):
        return False
    there, wanted = read_json(path), to_dict(result_settings(config))
    before = there.get("result_settings") if isinstance(there, dict) else None
    if before is None or not grows(before, wanted):
        # A setting that is at its default again is not among those on which results depend.
        found = changes(before, wanted) or changes(there.get("config") if before else None, to_dict(config))
        named = f" (there -> now: {found})" if found else ""
        raise RunError(f"{workdir}: holds a run of other settings{named}; choose another --workdir or remove it")
    _refuse_cut_search(workdir, config, before)
    return True


def _refuse_cut_search(workdir: Path, config: RunConfig, before: dict[str, Any]) -> None:
    """Refuses more trials after a search that its budget has ended inside a group of parallel ones."""
    if config.search is None or not before.get("search"):
        return
    try:
        trials = read_trials(workdir / "search" / "journal.jsonl")
        if len(trials) == before["search"].get("num_trials") < config.search.num_trials:
            refuse_cut_group(config.search, trials)
    except StageError as error:
        raise RunError(str(error)) from None


def write_run_identity(workdir: Path, config: RunConfig, gin_text: str, manifest: dict[str, Any]) -> bool:
    """Writes `config.gin`, `config.json` and `manifest.json` before any work starts.

    Returns:
        True where the folder holds a run that these settings add to.

    Raises:
        RunError: as `adds_to_run`.
    """
    held = adds_to_run(workdir, config)
    wanted = to_dict(result_settings(config))
    settings = {"fingerprint": fingerprint(config), "config": to_dict(config), "result_settings": wanted}
    write_json(workdir / "config.json", settings)
    write_text(workdir / "config.gin", gin_text)
    write_json(workdir / "manifest.json", manifest)
    return held
