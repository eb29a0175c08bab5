"""SeqIO tasks over the readers, and the one module through which the rest of the project reaches SeqIO.

Each function registers the task of one request under a name with a digest of everything that shapes its rows, and
returns the name; a second registration does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import seqio
import tensorflow as tf

from tasks import sources
from tasks.catalogue import TaskInfo, get_task, text_field_names
from tasks.encoding import preprocessors, spans
from tasks.seqio_tasks.base import batched, cached_tokenizer, decode_texts, make_dataset, name_digest, register, rows
from tasks.seqio_tasks.metrics import metric_fns
from tasks.seqio_tasks.pretraining import register_pretraining

if TYPE_CHECKING:
    import numpy as np

    from tasks.encoding.vocabulary import Vocabulary
    from tasks.files.bad_rows import OnBadRow, Row

__all__ = ["register_pretraining", "register_span_task", "register_task", "rows", "training_answer"]

_EXAMPLES_PER_BATCH = 512
_SPAN_EXAMPLES_PER_BATCH = 128


def register_task(
    task: str | TaskInfo,
    directory: Path,
    vocabulary: Vocabulary,
    length: int,
    *,
    source: str = "files",
    on_bad_row: OnBadRow = "error",
) -> str:
    """Registers a classification or regression task.

    Args:
        task: its name in the catalogue, or its entry, which an own task has alone.
        directory: the data root.
        vocabulary: the vocabulary of the rows.
        length: the length of a row.
        source: the reader of the examples (`tasks.sources`).
        on_bad_row: as for `tasks.files.readers.read_examples`.

    Returns:
        The name of the SeqIO task.
    """
    info = _entry(task)
    registered = _registered_name(info, source, directory, vocabulary, length, on_bad_row)
    if registered in seqio.TaskRegistry.names():
        return registered
    fields = text_field_names(info)
    label_type = tf.float32 if info.kind == "regression" else tf.int32
    tokenizer = cached_tokenizer(vocabulary)

    def encode(*columns: np.ndarray) -> Sequence[np.ndarray]:
        texts = [decode_texts(column) for column in columns[: len(fields)]]
        rows = preprocessors.encode_rows(tokenizer, vocabulary, texts[0], texts[1] if len(texts) > 1 else None, length)
        return rows["input_ids"], rows["token_type_ids"], columns[-2], columns[-1]

    types = {**dict.fromkeys(fields, tf.string), "label": label_type, "idx": tf.int32}
    outputs = {
        "input_ids": (tf.int32, (length,)),
        "token_type_ids": (tf.uint8, (length,)),
        "label": (label_type, ()),
        "index": (tf.int32, ()),
    }
    register(
        registered,
        _examples_source(source, info, directory, types, on_bad_row),
        batched(encode, tuple(types), outputs, _EXAMPLES_PER_BATCH),
        outputs,
        vocabulary,
        metric_fns(info),
    )
    return registered


def register_span_task(
    task: str | TaskInfo,
    directory: Path,
    vocabulary: Vocabulary,
    config: spans.SpanConfig,
    *,
    source: str = "files",
    on_bad_row: OnBadRow = "error",
) -> str:
    """Registers a question-answering task.

    Args:
        task: its name in the catalogue, or its entry, which an own task has alone.
        directory: the data root.
        vocabulary: the vocabulary of the rows.
        config: lengths of the windows.
        source: the reader of the examples (`tasks.sources`).
        on_bad_row: as for `tasks.files.readers.read_examples`.

    Returns:
        The name of the SeqIO task.
    """
    info = _entry(task)
    registered = _registered_name(info, source, directory, vocabulary, config, on_bad_row)
    if registered in seqio.TaskRegistry.names():
        return registered
    tokenizer = cached_tokenizer(vocabulary)
    length = config.length
    outputs = {
        "input_ids": (tf.int32, (length,)),
        "token_type_ids": (tf.uint8, (length,)),
        "start_position": (tf.int32, ()),
        "end_position": (tf.int32, ()),
        "example_index": (tf.int32, ()),
        "offsets": (tf.int32, (length, 2)),
        "is_max_context": (tf.uint8, (length,)),
    }

    def encode(question: np.ndarray, context: np.ndarray, *numbers: np.ndarray) -> Sequence[np.ndarray]:
        names = ("question", "context", "answer_start", "answer_end", "idx")
        columns = zip(decode_texts(question), decode_texts(context), *numbers, strict=True)
        rows = spans.encode_examples(
            tokenizer, vocabulary, [dict(zip(names, row, strict=True)) for row in columns], config
        )
        return [rows[feature] for feature in outputs]

    types = dict.fromkeys(text_field_names(info), tf.string)
    types |= dict.fromkeys(("answer_start", "answer_end", "idx"), tf.int32)
    register(
        registered,
        _examples_source(source, info, directory, types, on_bad_row),
        batched(encode, tuple(types), outputs, _SPAN_EXAMPLES_PER_BATCH),
        outputs,
        vocabulary,
        metric_fns(info),
    )
    return registered


def _entry(task: str | TaskInfo) -> TaskInfo:
    """Returns the entry of a task, looked up where its name is given."""
    return get_task(task) if isinstance(task, str) else task


def _registered_name(
    info: TaskInfo, source: str, directory: Path, vocabulary: Vocabulary, shape: int | spans.SpanConfig, on_bad_row: str
) -> str:
    """Names a task by everything that shapes its rows."""
    splits = _splits(source, info, directory)
    parts = (source, directory, splits, vocabulary.path, vocabulary.digest, shape, on_bad_row)
    digest = name_digest(*parts, *([info.own] if info.own is not None else []))
    return f"{info.name}_{digest}"


def _examples_source(
    source: str, info: TaskInfo, directory: Path, types: Mapping[str, tf.DType], on_bad_row: OnBadRow
) -> seqio.FunctionDataSource:
    """Makes a data source of the reader of a task."""

    def dataset_fn(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed

        def examples() -> Iterator[Row]:
            for example in sources.read_examples(source, info, directory, split, on_bad_row):
                if info.kind == "span":
                    example |= training_answer(example)
                yield example

        return make_dataset(examples, types, _EXAMPLES_PER_BATCH)

    return seqio.FunctionDataSource(dataset_fn, splits=_splits(source, info, directory))


def _splits(source: str, info: TaskInfo, directory: Path) -> list[str]:
    """Lists the splits whose files exist."""
    return [split for split in info.split_stems if sources.task_files(source, info, directory, split)]


def training_answer(example: Mapping[str, Any]) -> dict[str, int]:
    """Picks the answer that a model is trained on: the first.

    Args:
        example: from `tasks.files.readers.read_examples`.

    Returns:
        `answer_start` and `answer_end`, characters of the context; -1 and -1 where there is no answer.
    """
    if not example["answers"]:
        return {"answer_start": -1, "answer_end": -1}
    first = example["answers"][0]
    return {"answer_start": first["answer_start"], "answer_end": first["answer_start"] + len(first["text"])}
