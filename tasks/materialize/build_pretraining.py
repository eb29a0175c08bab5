"""The vocabulary and the pretraining rows, built from pretraining text."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tasks.arrays.write import array_directory
from tasks.encoding import tokenizer_files, vocabulary
from tasks.encoding.preprocessors import token_id_dtype
from tasks.materialize import upkeep
from tasks.materialize.build import FORMAT_VERSION, ROWS_PER_BATCH, Build, digest
from tasks.materialize.progress import Meter
from tasks.pretraining import pretraining_task
from tasks.sources import corpora
from tasks.system.atomic_directory import atomic_directory
from tasks.system.atomic_write import write_bytes
from tasks.system.errors import DataError
from tasks.system.folders import remove_folder

# Raised where the arrays of equal rows hold other features: 2 added the document of each row.
_ARRAYS_VERSION = 2


def build_vocabulary(build: Build) -> vocabulary.Vocabulary:
    """Trains the vocabulary or copies the given one.

    Returns:
        The vocabulary `output/vocabulary-<digest>.txt`, or the folder `output/vocabulary-<digest>` with the tokenizer
        files of one that is not uncased BERT's.

    Raises:
        DataError: if the given vocabulary is missing or has another size, or there is no text to train on.
    """
    request = build.request
    if request.vocabulary != "train":
        given = vocabulary.load(build.root / request.vocabulary)
        if given.size != request.vocabulary_size:
            raise DataError(
                f"vocabulary {given.path} has {given.size} tokens; vocabulary_size says {request.vocabulary_size}"
            )
        for file in tokenizer_files.present(given.path) if given.path.is_dir() else [given.path]:
            # The folder of a checkpoint is anywhere, and records of two machines have to agree.
            elsewhere = not file.resolve().is_relative_to(build.root.resolve())
            build.digest_files([file], f"vocabulary/{file.name}" if elsewhere else "")
        return _kept(build, given)
    corpora_digests = [build.source(build.corpus(corpus)) for corpus in request.pretrain_corpora]
    key = digest(vocabulary.TRAINER_VERSION, corpora.READER_VERSION, request.vocabulary_size, corpora_digests)
    target = build.output / f"vocabulary-{key}.txt"
    earlier = upkeep.read_index(build.output)
    if earlier and target.is_file() and not upkeep.vocabulary_is_intact(build.output, earlier, target.name):
        build.progress(f"{target}: not as it was written; training it again")
        target.unlink()
    if not target.is_file() and not build.take("vocabulary", target):
        build.require_build()
        with build.timed("vocabulary"):
            sentences = (
                sentence
                for corpus in request.pretrain_corpora
                for part in corpora.read_parts(build.corpus(corpus))
                for sentence in part.sentences
            )
            tokens = vocabulary.train_wordpiece(sentences, request.vocabulary_size)
            write_bytes(target, "".join(f"{token}\n" for token in tokens).encode())
        build.keep("vocabulary", target, build.seconds["vocabulary"])
        build.progress(f"vocabulary: {len(tokens):,} tokens trained in {build.seconds['vocabulary']:.1f} s")
    return vocabulary.load(target)


def _kept(build: Build, given: vocabulary.Vocabulary) -> vocabulary.Vocabulary:
    """Writes a vocabulary into the output folder, in the one form that its digest stands for."""
    settings = tokenizer_files.read(given.path)
    content = vocabulary.plain_content(given.path, settings)
    target = build.output / f"vocabulary-{given.digest[:12]}{'' if content is None else '.txt'}"
    if content is not None:
        write_bytes(target, content)
    else:
        if target.is_dir() and not upkeep.is_vocabulary(target, given.digest):
            build.progress(f"{target}: not as it was written; writing it again")
            remove_folder(target)
        if not target.is_dir():
            with atomic_directory(target) as folder:
                tokenizer_files.write(settings, folder)
    return vocabulary.load(target)


def build_pretraining(build: Build, vocab: vocabulary.Vocabulary) -> dict[str, str]:
    """Builds the pretraining rows of both splits.

    Returns:
        Split -> name of the folder of its arrays; nothing where no text is asked for.

    Raises:
        DataError: if a corpus is missing or gives too few rows.
    """
    request = build.request
    if not request.pretrain_corpora:
        return {}
    held_out = request.validation_rows
    name = pretraining_task(request.sentence_pairs).name
    corpora_digests = [build.source(build.corpus(corpus)) for corpus in request.pretrain_corpora]
    shared = [FORMAT_VERSION, _ARRAYS_VERSION, corpora.READER_VERSION, name, vocab.digest, request.pretrain_length]
    if request.sentence_pairs:
        shared.append(request.pretrain_seed)
    train_key = [*shared, corpora_digests, request.pretrain_rates, request.pretrain_max_rows]
    if not request.pretrain_validation:
        targets = {
            "train": build.output / f"{name}-train-{digest(*train_key, held_out)}",
            "validation": build.output / f"{name}-validation-{digest(*train_key, held_out)}",
        }
        found = [_there(build, target) for target in targets.values()]
        if not all(found):
            _build_rows(build, vocab, request.pretrain_corpora, request.pretrain_rates, targets)
        return {split: path.name for split, path in targets.items()}
    validation_digest = build.source(build.corpus(request.pretrain_validation))
    train = build.output / f"{name}-train-{digest(*train_key)}"
    validation = build.output / f"{name}-validation-{digest(*shared, validation_digest, held_out)}"
    if not _there(build, train):
        _build_rows(build, vocab, request.pretrain_corpora, request.pretrain_rates, {"train": train})
    if not _there(build, validation):
        _build_rows(build, vocab, (request.pretrain_validation,), (1.0,), {"validation": validation})
    return {"train": train.name, "validation": validation.name}


def _there(build: Build, target: Path) -> bool:
    """Returns True where an array folder can be used, or came from the cache just now."""
    return upkeep.usable(target, build.progress) or build.take("pretrain", target)


def _build_rows(
    build: Build,
    vocab: vocabulary.Vocabulary,
    names: tuple[str, ...],
    rates: tuple[float, ...],
    targets: Mapping[str, Path],
) -> None:
    """Reads rows of a mixture into the targets; where there are both, validation gets the last rows."""
    request, start = build.request, time.perf_counter()
    seqio_tasks = build.seqio_tasks()
    task = pretraining_task(request.sentence_pairs)
    held_out = request.validation_rows if len(targets) == 2 else 0
    limit = request.validation_rows if "train" not in targets else request.pretrain_max_rows
    limit = limit + held_out if limit else 0
    paths = [build.corpus(name) for name in names]
    dtypes = {name: token_id_dtype(vocab.size) if name == "input_ids" else np.dtype(np.uint8) for name in task.features}
    # No model reads it; standard errors of an evaluation are over documents.
    dtypes["document"] = np.dtype(np.uint32)
    first = next(iter(targets))
    files = [file for path in paths for file in corpora.corpus_files(path)]
    meter = Meter(f"pretrain {first}", files, limit, build.show)
    with build.timed("pretrain"):
        mixture = seqio_tasks.register_pretraining(
            paths, rates, vocab, request.pretrain_length, task, request.pretrain_seed
        )
        pending: dict[str, np.ndarray] = {}
        total = 0
        with array_directory(targets[first], dtypes) as writer:
            for batch in seqio_tasks.rows(mixture, "train", ROWS_PER_BATCH):
                batch = {name: rows[: limit - total] if limit else rows for name, rows in batch.items()}
                total += len(batch["input_ids"])
                meter.update(total)
                # The last rows are held back: they are known only at the end of the stream.
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
    # The rows of all splits are made in one go.
    for name, target in targets.items():
        build.keep("pretrain", target, time.perf_counter() - start if name == first else 0.0)
    parts = ", ".join(f"{name} {rows if name == first else held_out:,}" for name in targets)
    build.progress(f"pretrain: {parts} rows of {request.pretrain_length} in {build.seconds['pretrain']:.1f} s")
