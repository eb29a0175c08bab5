"""The data stage: official files in, token arrays on disk out, built once.

Every array directory is named by a digest of everything that shapes its content (source files, vocabulary, lengths, the
version of this code), so a directory with the right name is the right data, and runs share them. A directory is built
next to its place and moved there when complete, so that killed runs and parallel runs do no harm. One process builds in
a folder at a time. It compares arrays with their digests before it reuses them (`tasks.materialize.upkeep`).

TensorFlow is imported only when something has to be built, and `run_in_child` keeps it out of the caller's process.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tasks import microworld, sources
from tasks.catalogue import find_tasks
from tasks.files import source_notes
from tasks.files.text_files import sha256_file
from tasks.materialize import start_child, unknown_tokens, upkeep
from tasks.materialize.build import Build, BuildNeededError, digest
from tasks.materialize.build_contamination import build_contamination
from tasks.materialize.build_pretraining import build_pretraining, build_vocabulary
from tasks.materialize.build_tasks import build_task
from tasks.materialize.progress import Progress, ShowState, State, display, lines
from tasks.materialize.request import MaterializeRequest
from tasks.materialize.upkeep import DATA_FILE
from tasks.pretraining import pretraining_task
from tasks.sources import own
from tasks.system import file_lock
from tasks.system.atomic_directory import atomic_directory
from tasks.system.atomic_write import write_text

if TYPE_CHECKING:
    from tasks.system.content_cache import ContentCache

__all__ = ["DATA_FILE", "MaterializeRequest", "materialize", "run_in_child"]


def materialize(
    request: MaterializeRequest,
    output: Path,
    progress: Progress = lambda _: None,
    show: ShowState | None = None,
    cache: ContentCache | None = None,
    cached: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Any]:
    """Makes the vocabulary and the token arrays of a request, except those that are there already.

    Args:
        request: the data to make.
        output: the folder for the result; it is created.
        progress: gets one line per finished step.
        show: gets the state of long steps; by default `progress` gets a line about them every few seconds.
        cache: results that other folders share.
        cached: parts that came from it before this call, with the seconds that their building took.

    Returns:
        The content of `output/data.json`, which is written last: `vocabulary`, `pretrain_task`, `pretrain`, `tasks`,
        `own_tasks` (definitions with all labels, see `tasks.own_task`), `task_sources` (notes on the files of tasks,
        see `tasks.files.source_notes`), `contamination` (see `tasks.materialize.build_contamination`), `warnings`
        (their differences from known ones, and many unknown tokens), `unknown_tokens` (see
        `tasks.materialize.unknown_tokens`), `source_files`, `request`, `seconds` (time per step; `cached` is the time
        that others took for what came from the cache). Its paths are relative to `output`.

    Raises:
        DataError: if a file is missing or cannot be used.
    """
    root, shown = _root_path(request, output), show or lines(progress)
    return _locked(Build(request, output, root, progress, shown, cache=cache, cached=dict(cached)))


def run_in_child(
    request: MaterializeRequest,
    output: Path,
    progress: Progress = lambda _: None,
    cache: ContentCache | None = None,
) -> dict[str, Any]:
    """Serves a request as `materialize` does, but builds in a child process, which keeps TensorFlow out of this one.

    Args:
        request: the data to make.
        output: the folder for the result; it is created.
        progress: gets one line per finished step.
        cache: results that other folders share.

    Returns:
        The content of `output/data.json`. Where everything is there already or in the cache, no process is started.

    Raises:
        DataError: that of the child, unchanged.
        StageError: the system refused the child something, as `OSError` says it in this process.
    """
    build = Build(request, output, _root_path(request, output), progress, may_build=False, cache=cache)
    try:
        return _locked(build)
    except BuildNeededError:
        with display(progress) as show:
            return start_child.run(
                request, output, progress, lambda state: show(State(**state)), cache=cache, cached=build.cached
            )


def _locked(build: Build) -> dict[str, Any]:
    """Serves a request while no other process builds in the same folder, then clears up."""
    with file_lock.builder_lock(
        build.output, lambda: build.progress(f"waiting for the process that builds in {build.output}")
    ):
        before = len(build.cached)
        try:
            data = _materialize(build)
        finally:
            if build.cache is not None and (taken := len(build.cached) - before):
                build.progress(f"data: {taken} parts taken from the cache {build.cache.folder}")
        upkeep.remove_leftovers(build.output, data)
        return data


def _materialize(build: Build) -> dict[str, Any]:
    """Serves a request step by step."""
    request, output = build.request, build.output
    _generate_microworld(build)
    _prepare_tfds(build)
    vocab = build_vocabulary(build)
    pretrain = build_pretraining(build, vocab)
    infos = find_tasks(request.tasks, request.own_tasks, request.train_files)
    infos |= {task.name: own.resolve(task) for task in request.own_tasks}
    tasks = {name: build_task(build, info, vocab) for name, info in infos.items()}
    own.refuse_equal_files(request.own_tasks, build.source_files)
    contamination = build_contamination(build, infos, tasks)
    notes = source_notes.load(output, tasks)
    unknown = unknown_tokens.count(output, {"pretrain": pretrain, **tasks}, vocab)
    warnings = source_notes.warnings(notes) + unknown_tokens.warnings(unknown, request.vocabulary, vocab)
    if build.seconds or build.cached:
        for warning in warnings:
            build.progress(f"warning: {warning}")
    data = {
        "vocabulary": {
            **{field: value for field, value in vars(vocab).items() if field != "path"},
            "path": vocab.path.name,
        },
        "pretrain_task": pretraining_task(request.sentence_pairs).name,
        "pretrain": pretrain,
        "tasks": tasks,
        "own_tasks": {name: dataclasses.asdict(info.own) for name, info in infos.items() if info.own is not None},
        "task_sources": notes,
        "contamination": contamination,
        "warnings": warnings,
        "unknown_tokens": unknown,
        "source_files": build.source_files,
        "request": dataclasses.asdict(request),
        "seconds": build.seconds | ({"cached": round(sum(build.cached.values()), 3)} if build.cached else {}),
    }
    data = json.loads(json.dumps(data))
    if not data["seconds"]:
        # Nothing was built: the times of the run that did build are worth more than none.
        data["seconds"] = _seconds_of_earlier_run(output)
    write_text(output / DATA_FILE, json.dumps(data, indent=1, sort_keys=True) + "\n")
    return data


def _seconds_of_earlier_run(output: Path) -> dict[str, float]:
    return dict((upkeep.read_index(output) or {}).get("seconds") or {})


def _root_path(request: MaterializeRequest, output: Path) -> Path:
    """Returns the path of the data root; a microworld need not exist there yet."""
    if request.source != "microworld":
        return Path(request.directory)
    # The generator's source code is part of the name: another generator makes other data.
    package = Path(microworld.__file__).parent
    code = [sha256_file(path) for path in sorted(package.rglob("*.py"))]
    key = digest(request.microworld_seed, request.microworld_scale, code)
    return (Path(request.directory) if request.directory else output / "microworld") / key


def _generate_microworld(build: Build) -> None:
    """Generates the microworld if it is the source and is missing."""
    request = build.request
    if request.source != "microworld" or build.root.is_dir():
        return
    with file_lock.builder_lock(build.root.parent):
        if build.root.is_dir() or build.take("microworld", build.root):
            return
        build.require_build()
        with build.timed("microworld"):
            upkeep.remove_half_built(build.root.parent)
            with atomic_directory(build.root) as temporary:
                microworld.generate(temporary, seed=request.microworld_seed, scale=request.microworld_scale)
        build.keep("microworld", build.root, build.seconds["microworld"])
    build.progress(f"microworld: generated in {build.seconds['microworld']:.1f} s")


def _prepare_tfds(build: Build) -> None:
    """Prepares the data sets of TensorFlow Datasets that are missing."""
    request = build.request
    texts = [*request.pretrain_corpora, request.pretrain_validation]
    infos = list(find_tasks(request.tasks, request.own_tasks).values())
    for name in sources.unprepared(request.source, infos, build.root, texts):
        # TensorFlow is imported before TFDS: the child imports it in a thread as well, and the two imports would clash.
        build.seqio_tasks()
        from tasks.sources import tfds

        build.progress(f"tfds: {name} is not prepared in {build.root}; downloading it")
        with build.timed("tfds"):
            tfds.prepare(build.root, name)
