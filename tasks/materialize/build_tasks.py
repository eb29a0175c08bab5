"""The arrays of one task, built from official files or those of a hub through SeqIO."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks import sources
from tasks.arrays import token_arrays
from tasks.arrays.write import array_directory
from tasks.encoding.preprocessors import token_id_dtype
from tasks.files import source_notes
from tasks.materialize import upkeep
from tasks.materialize.build import FORMAT_VERSION, ROWS_PER_BATCH, Build, digest
from tasks.materialize.progress import Meter
from tasks.sources import own

if TYPE_CHECKING:
    import numpy.typing as npt

    from tasks.catalogue import TaskInfo
    from tasks.encoding.spans import SpanConfig
    from tasks.encoding.vocabulary import Vocabulary


def build_task(build: Build, info: TaskInfo, vocabulary: Vocabulary) -> dict[str, str]:
    """Builds token arrays for each split of a task whose file exists; files of optional splits may be missing.

    Returns:
        Split -> name of the folder of its arrays.

    Raises:
        DataError: if a file is missing or cannot be used.
    """
    directories: dict[str, str] = {}
    config = build.request.span_config() if info.kind == "span" else None
    for split in info.split_stems:
        files = sources.task_files(build.request.source, info, build.root, split)
        if not files:
            if split in info.optional_splits:
                continue
            files = sources.require_task_files(build.request.source, info, build.root, split)
        shape = dataclasses.asdict(config) if config else build.request.task_length
        sources_digest = build.digest_files(files, info.own.source_name(split) if info.own else "")
        key = digest(
            FORMAT_VERSION,
            info.name,
            split,
            sources_digest,
            vocabulary.digest,
            shape,
            build.request.on_bad_row,
            *own_definition(info),
        )
        target = build.output / f"{info.name}-{split}-{key}"
        if not upkeep.usable(target, build.progress) and not build.take("task", target):
            _build_split(build, info, split, vocabulary, config, target, files)
        directories[split] = target.name
    if not directories:
        sources.require_task_files(build.request.source, info, build.root, next(iter(info.split_stems)))
    return directories


def own_definition(info: TaskInfo) -> list[object]:
    """Lists what else the rows of an own task depend on: all but title, metrics and places of its files."""
    if info.own is None:
        return []
    left_out = {"title": "", "metrics": ()}
    files = [(file.split, file.format) for file in info.own.files]
    return [{**vars(info.own), **left_out, "files": files}]


def _build_split(
    build: Build,
    info: TaskInfo,
    split: str,
    vocabulary: Vocabulary,
    config: SpanConfig | None,
    target: Path,
    files: Sequence[Path],
) -> None:
    """Reads one split through SeqIO into token arrays."""
    began = time.perf_counter()
    seqio_tasks = build.seqio_tasks()
    dtypes: dict[str, npt.DTypeLike] = {"input_ids": token_id_dtype(vocabulary.size), "token_type_ids": np.uint8}
    start = time.perf_counter()
    meter = Meter(f"{info.name} {split}", files, 0, build.show)
    reading = {"source": build.request.source, "on_bad_row": build.request.on_bad_row}
    with build.timed(info.name):
        if config:
            name = seqio_tasks.register_span_task(info, build.root, vocabulary, config, **reading)
            dtypes |= dict.fromkeys(("start_position", "end_position", "example_index", "offsets"), np.int32)
            dtypes["is_max_context"] = np.uint8
        else:
            name = seqio_tasks.register_task(info, build.root, vocabulary, build.request.task_length, **reading)
            dtypes |= {"label": np.float32 if info.kind == "regression" else np.int32, "index": np.int32}
        with array_directory(target, dtypes) as writer:
            for batch in seqio_tasks.rows(name, split, ROWS_PER_BATCH):
                writer.append(batch)
                meter.update(writer.num_rows)
            if config:
                _write_examples(writer.directory, info, build, split)
            if info.own is not None:
                found = own.report(info, split, build.request.on_bad_row)
                source_notes.write_note(writer.directory, {info.own.source_name(split): files[0]}, found)
            elif build.request.source == "files":
                source_notes.write(writer.directory, info, build.root, split, build.request.on_bad_row)
            rows = writer.num_rows
    # The import of TensorFlow belongs to the first part, which another folder is spared too.
    build.keep("task", target, time.perf_counter() - began)
    build.progress(f"{info.name}: {split} {rows:,} rows in {time.perf_counter() - start:.1f} s")


def _write_examples(directory: Path, info: TaskInfo, build: Build, split: str) -> None:
    """Writes the examples next to the arrays: answers are cut from their contexts."""
    with (directory / token_arrays.EXAMPLES_FILE).open("w", encoding="utf-8") as file:
        for example in sources.read_examples(build.request.source, info, build.root, split, build.request.on_bad_row):
            del example["idx"]
            file.write(json.dumps(example, ensure_ascii=False) + "\n")
