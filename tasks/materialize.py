"""Turns official files into token arrays on disk, once.

Every array directory is named by a digest of everything that shapes its content (source files, vocabulary, lengths, the
version of this code), so a directory with the right name is the right data, and runs share them. A directory is built
beside its place and moved there when complete; a run that is killed, or that runs beside another, harms nothing. One
process builds in a folder at a time, and what it is about to reuse it reads first and compares with its digest
(`tasks.upkeep`).

TensorFlow is imported only when something has to be built, and `run_in_child` keeps it out of the caller's process.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks import arrays, child, corpora, locks, readers, source_notes, sources, upkeep, vocabulary
from tasks.array_writer import array_directory, built_beside, write_atomically
from tasks.catalogue import TaskInfo, get_task
from tasks.errors import DataError
from tasks.preprocessors import token_id_dtype
from tasks.pretraining import pretraining_task
from tasks.progress import Meter, Progress, Show, State, display, lines
from tasks.request import MaterializeRequest
from tasks.sources.texts import HubCorpus, find_corpus
from tasks.upkeep import DATA_FILE

if TYPE_CHECKING:
    from tasks.spans import SpanConfig

__all__ = ["DATA_FILE", "MaterializeRequest", "materialize", "run_in_child"]

# Raised whenever the same sources give other arrays; directories of older versions are then left alone.
FORMAT_VERSION = 2
_ROWS_PER_BATCH = 2048


class _BuildNeededError(Exception):
    """Something is not there yet, and this call was asked not to build."""


@dataclass
class _Run:
    """What the steps of one call share."""

    request: MaterializeRequest
    output: Path
    root: Path
    progress: Progress
    show: Show = lambda state: None
    may_build: bool = True
    source_files: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    def require_build(self) -> None:
        """Stops a call that may only reuse."""
        if not self.may_build:
            raise _BuildNeededError

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = round(self.seconds.get(step, 0.0) + time.perf_counter() - start, 3)

    def source(self, path: Path | HubCorpus) -> str:
        """Digests a source file, folder or corpus, and notes it for `data.json`."""
        return self.digest_files(corpora.corpus_files(path))

    def digest_files(self, files: Iterable[Path]) -> str:
        """Digests source files, and notes them for `data.json`."""
        digests = []
        for file in files:
            name = os.path.relpath(file, self.root)
            if name not in self.source_files:
                self.source_files[name] = {"sha256": readers.sha256_file(file), "bytes": file.stat().st_size}
            digests.append([name, self.source_files[name]["sha256"]])
        return _digest(digests)


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def materialize(
    request: MaterializeRequest,
    output: Path,
    progress: Progress = lambda line: None,
    show: Show | None = None,
) -> dict[str, Any]:
    """Makes the vocabulary and the token arrays of a request, except those that are there already.

    Args:
      request: what to make.
      output: the folder for the result; it is created.
      progress: gets one line per finished step.
      show: gets the state of long steps; by default `progress` gets a line about them now and then.

    Returns:
      the content of `output/data.json`, which is written last: `vocabulary`, `pretrain_task`, `pretrain`, `tasks`,
      `task_sources` (what was read from official files, see `tasks.source_notes`), `warnings` (what makes them differ
      from known ones), `source_files`, `request`, `seconds` (time per step). Its paths are relative to `output`.

    Raises:
      DataError: if a file is missing or is not what it should be.
    """
    return _locked(_Run(request, output, _root_path(request, output), progress, show or lines(progress)))


def run_in_child(request: MaterializeRequest, output: Path, progress: Progress = lambda line: None) -> dict[str, Any]:
    """Does what `materialize` does, but builds in a child process, so that TensorFlow stays out of this one.

    Args:
      request: what to make.
      output: the folder for the result; it is created.
      progress: gets one line per finished step.

    Returns:
      the content of `output/data.json`. Where everything is there already, no process is started.

    Raises:
      DataError: the child's, unchanged.
    """
    try:
        return _locked(_Run(request, output, _root_path(request, output), progress, may_build=False))
    except _BuildNeededError:
        with display(progress) as show:
            return child.run(request, output, progress, lambda state: show(State(**state)))


def _locked(run: _Run) -> dict[str, Any]:
    """Serves a request while no other process builds in the same folder, then clears up."""
    with locks.one_builder(run.output, lambda: run.progress(f"waiting for the process that builds in {run.output}")):
        data = _materialize(run)
        upkeep.remove_leftovers(run.output, data)
        return data


def _materialize(run: _Run) -> dict[str, Any]:
    """Serves a request step by step."""
    request, output = run.request, run.output
    _generate_microworld(run)
    _prepare_tfds(run)
    words = _vocabulary(run)
    pretrain = _pretraining(run, words)
    tasks = {name: _task(run, get_task(name), words) for name in request.tasks}
    notes = source_notes.load(output, tasks)
    warnings = source_notes.warnings(notes)
    if run.seconds:
        for warning in warnings:
            run.progress(f"warning: {warning}")
    data = {
        "vocabulary": {
            **{field: value for field, value in vars(words).items() if field != "path"},
            "path": words.path.name,
        },
        "pretrain_task": pretraining_task(request.sentence_pairs).name,
        "pretrain": pretrain,
        "tasks": tasks,
        "task_sources": notes,
        "warnings": warnings,
        "source_files": run.source_files,
        "request": dataclasses.asdict(request),
        "seconds": run.seconds,
    }
    data = json.loads(json.dumps(data))
    if not run.seconds:
        # Nothing was built: the times of the run that did build are worth more than none.
        data["seconds"] = _seconds_of_earlier_run(output)
    write_atomically(output / DATA_FILE, (json.dumps(data, indent=1, sort_keys=True) + "\n").encode())
    return data


def _seconds_of_earlier_run(output: Path) -> dict[str, float]:
    return dict((upkeep.read_index(output) or {}).get("seconds") or {})


def _root_path(request: MaterializeRequest, output: Path) -> Path:
    """Says where the data root is, or will be once the microworld is generated."""
    if request.source != "microworld":
        return Path(request.directory)
    from tasks import microworld

    # Its own source is part of the name: another generator makes other data.
    package = Path(microworld.__file__).parent
    code = [readers.sha256_file(path) for path in sorted(package.rglob("*.py"))]
    key = _digest(request.microworld_seed, request.microworld_scale, code)
    return (Path(request.directory) if request.directory else output / "microworld") / key


def _generate_microworld(run: _Run) -> None:
    """Generates the microworld if it is the source and is not there."""
    request = run.request
    if request.source != "microworld" or run.root.is_dir():
        return
    run.require_build()
    from tasks import microworld

    with run.timed("microworld"), locks.one_builder(run.root.parent):
        upkeep.remove_half_built(run.root.parent)
        if not run.root.is_dir():
            with built_beside(run.root) as temporary:
                microworld.generate(temporary, seed=request.microworld_seed, scale=request.microworld_scale)
    run.progress(f"microworld: generated in {run.seconds['microworld']:.1f} s")


def _prepare_tfds(run: _Run) -> None:
    """Has TensorFlow Datasets prepare what is not there yet."""
    request = run.request
    texts = [*request.pretrain_corpora, request.pretrain_validation]
    for name in sources.unprepared(request.source, [get_task(task) for task in request.tasks], run.root, texts):
        # Imported first and alone: the child imports it in a thread as well, and both would meet inside TensorFlow.
        _seqio_tasks(run)
        from tasks.sources import tfds

        run.progress(f"tfds: {name} is not prepared in {run.root}; downloading it")
        with run.timed("tfds"):
            tfds.prepare(run.root, name)


def _corpus_path(run: _Run, corpus: str) -> Path | HubCorpus:
    return find_corpus(run.root, corpus)


def _vocabulary(run: _Run) -> vocabulary.Vocabulary:
    """Trains or copies the vocabulary to `output/vocabulary-<digest>.txt`."""
    request = run.request
    if request.vocabulary != "train":
        given = vocabulary.load(run.root / request.vocabulary)
        if given.size != request.vocabulary_size:
            raise DataError(
                f"vocabulary {given.path} has {given.size} tokens; vocabulary_size says {request.vocabulary_size}"
            )
        run.source(given.path)
        target = run.output / f"vocabulary-{given.digest[:12]}.txt"
        write_atomically(target, given.path.read_bytes())
        return vocabulary.load(target)
    corpora_digests = [run.source(_corpus_path(run, corpus)) for corpus in request.pretrain_corpora]
    key = _digest(vocabulary.TRAINER_VERSION, request.vocabulary_size, corpora_digests)
    target = run.output / f"vocabulary-{key}.txt"
    earlier = upkeep.read_index(run.output)
    if earlier and target.is_file() and not upkeep.vocabulary_is_intact(run.output, earlier, target.name):
        run.progress(f"{target}: not as it was written; training it again")
        target.unlink()
    if not target.is_file():
        run.require_build()
        with run.timed("vocabulary"):
            sentences = (
                sentence
                for corpus in request.pretrain_corpora
                for part in corpora.read_parts(_corpus_path(run, corpus))
                for sentence in part.sentences
            )
            tokens = vocabulary.train_wordpiece(sentences, request.vocabulary_size)
            write_atomically(target, "".join(f"{token}\n" for token in tokens).encode())
        run.progress(f"vocabulary: {len(tokens):,} tokens trained in {run.seconds['vocabulary']:.1f} s")
    return vocabulary.load(target)


def _seqio_tasks(run: _Run) -> Any:
    """Imports `tasks.seqio_tasks`, the slow import, when the first array has to be built."""
    run.require_build()
    with run.timed("import_tensorflow"):
        from tasks import seqio_tasks

        return seqio_tasks


def _pretraining(run: _Run, words: vocabulary.Vocabulary) -> dict[str, str]:
    """Builds the pretraining rows of both splits."""
    request = run.request
    held_out = request.validation_rows
    name = pretraining_task(request.sentence_pairs).name
    corpora_digests = [run.source(_corpus_path(run, corpus)) for corpus in request.pretrain_corpora]
    shared = [FORMAT_VERSION, name, words.digest, request.pretrain_length]
    if request.sentence_pairs:
        shared.append(request.pretrain_seed)
    train_key = [*shared, corpora_digests, request.pretrain_rates, request.pretrain_max_rows]
    if not request.pretrain_validation:
        targets = {
            "train": run.output / f"{name}-train-{_digest(*train_key, held_out)}",
            "validation": run.output / f"{name}-validation-{_digest(*train_key, held_out)}",
        }
        found = [upkeep.usable(target, run.progress) for target in targets.values()]
        if not all(found):
            _build_pretraining(run, words, request.pretrain_corpora, request.pretrain_rates, targets)
        return {split: path.name for split, path in targets.items()}
    digest = run.source(_corpus_path(run, request.pretrain_validation))
    train = run.output / f"{name}-train-{_digest(*train_key)}"
    validation = run.output / f"{name}-validation-{_digest(*shared, digest, held_out)}"
    if not upkeep.usable(train, run.progress):
        _build_pretraining(run, words, request.pretrain_corpora, request.pretrain_rates, {"train": train})
    if not upkeep.usable(validation, run.progress):
        _build_pretraining(run, words, (request.pretrain_validation,), (1.0,), {"validation": validation})
    return {"train": train.name, "validation": validation.name}


def _build_pretraining(
    run: _Run,
    words: vocabulary.Vocabulary,
    names: tuple[str, ...],
    rates: tuple[float, ...],
    targets: Mapping[str, Path],
) -> None:
    """Reads rows of a mixture into the targets; where there are both, validation gets the last rows."""
    request = run.request
    seqio_tasks = _seqio_tasks(run)
    task = pretraining_task(request.sentence_pairs)
    held_out = request.validation_rows if len(targets) == 2 else 0
    limit = request.validation_rows if "train" not in targets else request.pretrain_max_rows
    limit = limit + held_out if limit else 0
    paths = [_corpus_path(run, name) for name in names]
    dtypes = {name: token_id_dtype(words.size) if name == "input_ids" else np.dtype(np.uint8) for name in task.features}
    first = next(iter(targets))
    meter = Meter(f"pretrain {first}", [file for path in paths for file in corpora.corpus_files(path)], limit, run.show)
    with run.timed("pretrain"):
        mixture = seqio_tasks.register_pretraining(
            paths, rates, words, request.pretrain_length, task, request.pretrain_seed
        )
        pending: dict[str, np.ndarray] = {}
        total = 0
        with array_directory(targets[first], dtypes) as writer:
            for batch in seqio_tasks.rows(mixture, "train", _ROWS_PER_BATCH):
                batch = {name: rows[: limit - total] if limit else rows for name, rows in batch.items()}
                total += len(batch["input_ids"])
                meter.update(total)
                # The last rows are held back, because only the end of the stream tells which they are.
                pending = {name: np.concatenate([pending.get(name, rows[:0]), rows]) for name, rows in batch.items()}
                ready = len(pending["input_ids"]) - held_out
                if ready > 0:
                    writer.append({name: rows[:ready] for name, rows in pending.items()})
                    pending = {name: rows[ready:] for name, rows in pending.items()}
                if limit and total >= limit:
                    break
            if not writer.num_rows or total < held_out:
                raise DataError(
                    f"{', '.join(map(str, paths))}: {total:,} rows of {request.pretrain_length} tokens; more than"
                    f" validation_rows ({held_out:,}) are needed"
                )
            rows = writer.num_rows
        if held_out:
            with array_directory(targets["validation"], dtypes) as writer:
                writer.append(pending)
    parts = ", ".join(f"{name} {rows if name == first else held_out:,}" for name in targets)
    run.progress(f"pretrain: {parts} rows of {request.pretrain_length} in {run.seconds['pretrain']:.1f} s")


def _task(run: _Run, info: TaskInfo, words: vocabulary.Vocabulary) -> dict[str, str]:
    """Builds the arrays of every split of a task whose file is there, which that of an optional split need not be."""
    directories: dict[str, str] = {}
    config = run.request.span_config() if info.kind == "span" else None
    for split in info.split_stems:
        files = sources.task_files(run.request.source, info, run.root, split)
        if not files:
            if split in info.optional_splits:
                continue
            files = sources.require_task_files(run.request.source, info, run.root, split)
        shape = dataclasses.asdict(config) if config else run.request.task_length
        digest = run.digest_files(files)
        key = _digest(FORMAT_VERSION, info.name, split, digest, words.digest, shape, run.request.on_bad_row)
        target = run.output / f"{info.name}-{split}-{key}"
        if not upkeep.usable(target, run.progress):
            _build_task(run, info, split, words, config, target, files)
        directories[split] = target.name
    if not directories:
        sources.require_task_files(run.request.source, info, run.root, next(iter(info.split_stems)))
    return directories


def _build_task(
    run: _Run,
    info: TaskInfo,
    split: str,
    words: vocabulary.Vocabulary,
    config: SpanConfig | None,
    target: Path,
    files: Sequence[Path],
) -> None:
    """Reads one split through SeqIO into token arrays."""
    seqio_tasks = _seqio_tasks(run)
    dtypes: dict[str, Any] = {"input_ids": token_id_dtype(words.size), "token_type_ids": np.uint8}
    start = time.perf_counter()
    meter = Meter(f"{info.name} {split}", files, 0, run.show)
    reading = {"source": run.request.source, "on_bad_row": run.request.on_bad_row}
    with run.timed(info.name):
        if config:
            name = seqio_tasks.register_span_task(info.name, run.root, words, config, **reading)
            dtypes |= dict.fromkeys(("start_position", "end_position", "example_index", "offsets"), np.int32)
            dtypes["is_max_context"] = np.uint8
        else:
            name = seqio_tasks.register_task(info.name, run.root, words, run.request.task_length, **reading)
            dtypes |= {"label": np.float32 if info.kind == "regression" else np.int32, "index": np.int32}
        with array_directory(target, dtypes) as writer:
            for batch in seqio_tasks.rows(name, split, _ROWS_PER_BATCH):
                writer.append(batch)
                meter.update(writer.num_rows)
            if config:
                _write_examples(writer.directory, info, run, split)
            if run.request.source == "files":
                source_notes.write(writer.directory, info, run.root, split, run.request.on_bad_row)
            rows = writer.num_rows
    run.progress(f"{info.name}: {split} {rows:,} rows in {time.perf_counter() - start:.1f} s")


def _write_examples(directory: Path, info: TaskInfo, run: _Run, split: str) -> None:
    """Writes the examples beside the arrays: answers are cut from their contexts."""
    with (directory / arrays.EXAMPLES_FILE).open("w", encoding="utf-8") as file:
        for example in sources.read_examples(run.request.source, info, run.root, split, run.request.on_bad_row):
            del example["idx"]
            file.write(json.dumps(example, ensure_ascii=False) + "\n")
