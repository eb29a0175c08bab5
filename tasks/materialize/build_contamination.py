"""The overlap of each evaluated split with training examples and pretraining text, counted once.

A count lies next to the arrays, in a file named by a digest of all that it depends on; `data.json` holds the numbers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import sources
from tasks.catalogue import text_field_names
from tasks.contamination.overlap import Evaluated
from tasks.contamination.texts import METHOD, found_sentences
from tasks.materialize.build import Build, digest
from tasks.materialize.build_tasks import own_definition
from tasks.materialize.progress import Meter
from tasks.sources import corpora
from tasks.system.atomic_write import write_text

if TYPE_CHECKING:
    from tasks.catalogue import TaskInfo

_PARTS_PER_STATE = 100


def build_contamination(
    build: Build, infos: Mapping[str, TaskInfo], tasks: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, Any]]:
    """Counts the overlap of every task, except where it is there already or in the cache.

    Args:
        build: the state of this call.
        infos: the tasks by name.
        tasks: task name -> split -> folder of its arrays, as in `data.json`.

    Returns:
        Task name -> the fields of `tasks.contamination.overlap.Overlap`, and `file`, its name in the output folder.
    """
    targets = {name: build.output / f"contamination-{_key(build, infos, tasks, name)}.json" for name in tasks}
    missing = [
        name for name, target in targets.items() if _read(target) is None and not build.take("contamination", target)
    ]
    if missing:
        build.require_build()
        began = time.perf_counter()
        with build.timed("contamination"):
            counted = _counted(build, infos, tasks, missing)
        seconds = (time.perf_counter() - began) / len(missing)
        for name, values in counted.items():
            write_text(targets[name], json.dumps(values, indent=1) + "\n")
            build.keep("contamination", targets[name], seconds)
        build.progress(
            f"contamination: {len(missing)} evaluated splits compared with what is trained on,"
            f" in {build.seconds['contamination']:.1f} s"
        )
    return {name: {**(_read(target) or {}), "file": target.name} for name, target in targets.items()}


def evaluated_split(splits: Mapping[str, str]) -> str:
    """Names the split that is evaluated: `validation`, or else `test`."""
    return "validation" if "validation" in splits else "test"


def _trained(infos: Mapping[str, TaskInfo], name: str) -> TaskInfo | None:
    """Finds the task whose training examples the model of a task has seen; None where the run has none."""
    return infos.get(infos[name].trained_on or name)


def _key(build: Build, infos: Mapping[str, TaskInfo], tasks: Mapping[str, Mapping[str, str]], name: str) -> str:
    """Digests everything that the counts of a task depend on."""
    read: list[object] = []
    trained = _trained(infos, name)
    for info, split in ((infos[name], evaluated_split(tasks[name])), (trained, "train")):
        if info is not None:
            files = sources.task_files(build.request.source, info, build.root, split)
            source_name = info.own.source_name(split) if info.own else ""
            read.append([info.name, split, build.digest_files(files, source_name), *own_definition(info)])
    text = [build.source(build.corpus(corpus)) for corpus in build.request.pretrain_corpora]
    return digest(METHOD, corpora.READER_VERSION, build.request.source, build.request.on_bad_row, read, text)


def _read(target: Path) -> dict[str, Any] | None:
    """Reads counts; None where there are none that can be read."""
    try:
        values = json.loads(target.read_text(encoding="utf-8"))
        return values if isinstance(values, dict) else None
    except (OSError, ValueError):
        return None


def _counted(
    build: Build,
    infos: Mapping[str, TaskInfo],
    tasks: Mapping[str, Mapping[str, str]],
    names: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Counts the overlap of some tasks, all of them in one pass over the text."""
    evaluated: dict[str, Evaluated] = {}
    for name in names:
        evaluated[name] = Evaluated(_texts(build, infos[name], evaluated_split(tasks[name])))
        trained = _trained(infos, name)
        if trained is not None:
            evaluated[name].compare_training(_texts(build, trained, "train"))
    wanted = set[int]().union(*(one.sentences for one in evaluated.values()))
    in_text = found_sentences(wanted, _sentences(build)) if build.request.pretrain_corpora else None
    return {name: one.overlap(in_text).to_dict() for name, one in evaluated.items()}


def _texts(build: Build, info: TaskInfo, split: str) -> Iterator[tuple[str, ...]]:
    """Yields the texts of each example of a split."""
    fields = text_field_names(info)
    for row in sources.read_examples(build.request.source, info, build.root, split, build.request.on_bad_row):
        yield tuple(row[field] for field in fields)


def _sentences(build: Build) -> Iterator[str]:
    """Yields the sentences of all pretraining text."""
    for entry in build.request.pretrain_corpora:
        corpus, count = build.corpus(entry), 0
        meter = Meter(f"contamination, {entry}", corpora.corpus_files(corpus), 0, build.show)
        for number, part in enumerate(corpora.read_parts(corpus)):
            yield from part.sentences
            count += len(part.sentences)
            if number % _PARTS_PER_STATE == 0:
                meter.update(count)
