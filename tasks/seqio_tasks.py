"""SeqIO tasks and mixtures over the readers: with `tasks.seqio_metrics` all that imports TensorFlow, SeqIO and T5.

Each function registers what one request needs, under a name that carries a digest of everything that shapes the rows,
and gives the name back; registering the same again does nothing. `rows` then reads a registered task or mixture
through `get_dataset` and a feature converter, as SeqIO trainers do; the converter passes rows through, because they
leave the tasks padded and typed for an encoder.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import seqio
import tensorflow as tf
from tokenizers import Tokenizer

from tasks import corpora, preprocessors, sentence_pairs, sources, spans
from tasks.bad_rows import OnBadRow
from tasks.catalogue import TaskInfo, get_task, text_field_names
from tasks.errors import DataError
from tasks.pretraining import PretrainingTask
from tasks.seqio_metrics import MetricFn, metric_fns
from tasks.vocabulary import Vocabulary, tokenizer

_EXAMPLES_PER_BATCH = 512
# Parts of documents are longer than examples.
_PARTS_PER_BATCH = 16
_SPAN_EXAMPLES_PER_BATCH = 128

Batch = dict[str, np.ndarray]

# tf.data turns every Python exception into its own; the one that a reader raised is kept here, to be raised again.
_reader_errors: list[DataError] = []


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:12]


def _dataset(rows: Callable[[], Iterator[Mapping[str, Any]]], types: Mapping[str, Any], chunk: int) -> tf.data.Dataset:
    """Makes a dataset of the rows of a reader.

    Rows cross from Python to TensorFlow in chunks, because each crossing costs about half a millisecond.

    Args:
      rows: opens the reader; a `DataError` of it is kept for `rows` to raise.
      types: feature -> TensorFlow type; every value is a scalar.
      chunk: how many rows cross at once.

    Returns:
      a dataset of single rows.
    """

    def generate() -> Iterator[dict[str, list[Any]]]:
        reader = rows()
        while part := list(itertools.islice(reader, chunk)):
            yield {name: [row[name] for row in part] for name in types}

    signature = {name: tf.TensorSpec((None,), kind) for name, kind in types.items()}
    return tf.data.Dataset.from_generator(lambda: _kept_errors(generate()), output_signature=signature).unbatch()


def _kept_errors(reader: Iterator[Any]) -> Iterator[Any]:
    """Passes items on and notes the error that ends them, for `rows` to raise."""
    try:
        yield from reader
    except DataError as error:
        _reader_errors.append(error)
        raise


def _feature(vocabulary_size: int, dtype: Any, rank: int) -> seqio.Feature:
    """Describes an output feature whose values are final: no end marker, no further encoding."""
    return seqio.Feature(vocabulary=seqio.PassThroughVocabulary(vocabulary_size), add_eos=False, dtype=dtype, rank=rank)


def _batched(
    encode: Callable[..., Sequence[np.ndarray]],
    inputs: Sequence[str],
    outputs: Mapping[str, tuple[Any, tuple[int, ...]]],
    batch_size: int,
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """Makes a SeqIO preprocessor of a function over batches: the fast tokenizer earns its name on batches only.

    Args:
      encode: takes one array per input, gives one array per output, with any number of rows.
      inputs: the features to take.
      outputs: feature -> its type and the shape of one row.
      batch_size: how many examples `encode` gets at once.

    Returns:
      a function of datasets, row by row at both ends.
    """
    encode_batches = _mapped(encode, inputs, outputs)
    return lambda dataset: encode_batches(dataset.batch(batch_size))


def _mapped(
    encode: Callable[..., Sequence[np.ndarray]],
    inputs: Sequence[str],
    outputs: Mapping[str, tuple[Any, tuple[int, ...]]],
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """Makes a SeqIO preprocessor of a function that gives any number of rows for each example.

    Args:
      encode: takes one array per input, gives one array per output, with any number of rows.
      inputs: the features to take.
      outputs: feature -> its type and the shape of one row.

    Returns:
      a function of datasets that gives single rows.
    """

    def preprocess(dataset: tf.data.Dataset) -> tf.data.Dataset:
        @tf.autograph.experimental.do_not_convert
        def apply(features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            dtypes = [dtype for dtype, _ in outputs.values()]
            tensors = tf.numpy_function(encode, [features[name] for name in inputs], dtypes, stateful=False)
            for tensor, (_, shape) in zip(tensors, outputs.values(), strict=True):
                tensor.set_shape((None, *shape))
            return dict(zip(outputs, tensors, strict=True))

        return dataset.map(apply, num_parallel_calls=2, deterministic=True).unbatch()

    return preprocess


@functools.lru_cache(maxsize=4)
def _tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    return tokenizer(vocabulary)


def _texts(column: np.ndarray) -> list[str]:
    return [value.decode() for value in column]


def register_task(
    name: str,
    directory: Path,
    vocabulary: Vocabulary,
    length: int,
    *,
    source: str = "files",
    on_bad_row: OnBadRow = "error",
) -> str:
    """Registers a classification or regression task.

    Args:
      name: its name in the catalogue.
      directory: the data root.
      vocabulary: the vocabulary of the rows.
      length: the length of a row.
      source: which reader gives the examples (`tasks.sources`).
      on_bad_row: as for `tasks.readers.read_examples`.

    Returns:
      the name of the SeqIO task.
    """
    info = get_task(name)
    shape = (
        source,
        directory,
        _splits(source, info, directory),
        vocabulary.path,
        vocabulary.digest,
        length,
        on_bad_row,
    )
    registered = f"{name}_{_digest(*shape)}"
    if registered in seqio.TaskRegistry.names():
        return registered
    fields = text_field_names(info)
    label_type = tf.float32 if info.kind == "regression" else tf.int32
    words = _tokenizer(vocabulary)

    def encode(*columns: np.ndarray) -> Sequence[np.ndarray]:
        texts = [_texts(column) for column in columns[: len(fields)]]
        rows = preprocessors.encode_rows(words, vocabulary, texts[0], texts[1] if len(texts) > 1 else None, length)
        return rows["input_ids"], rows["token_type_ids"], columns[-2], columns[-1]

    types = {**dict.fromkeys(fields, tf.string), "label": label_type, "idx": tf.int32}
    outputs = {
        "input_ids": (tf.int32, (length,)),
        "token_type_ids": (tf.uint8, (length,)),
        "label": (label_type, ()),
        "index": (tf.int32, ()),
    }
    _register(
        registered,
        _examples_source(source, info, directory, types, on_bad_row),
        _batched(encode, tuple(types), outputs, _EXAMPLES_PER_BATCH),
        outputs,
        vocabulary,
        metric_fns(info),
    )
    return registered


def register_span_task(
    name: str,
    directory: Path,
    vocabulary: Vocabulary,
    config: spans.SpanConfig,
    *,
    source: str = "files",
    on_bad_row: OnBadRow = "error",
) -> str:
    """Registers a question-answering task.

    Args:
      name: its name in the catalogue.
      directory: the data root.
      vocabulary: the vocabulary of the rows.
      config: how windows are made.
      source: which reader gives the examples (`tasks.sources`).
      on_bad_row: as for `tasks.readers.read_examples`.

    Returns:
      the name of the SeqIO task.
    """
    info = get_task(name)
    shape = (
        source,
        directory,
        _splits(source, info, directory),
        vocabulary.path,
        vocabulary.digest,
        config,
        on_bad_row,
    )
    registered = f"{name}_{_digest(*shape)}"
    if registered in seqio.TaskRegistry.names():
        return registered
    words = _tokenizer(vocabulary)
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
        columns = zip(_texts(question), _texts(context), *numbers, strict=True)
        rows = spans.encode_examples(words, vocabulary, [dict(zip(names, row, strict=True)) for row in columns], config)
        return [rows[feature] for feature in outputs]

    types = dict.fromkeys(text_field_names(info), tf.string)
    types |= dict.fromkeys(("answer_start", "answer_end", "idx"), tf.int32)
    _register(
        registered,
        _examples_source(source, info, directory, types, on_bad_row),
        _batched(encode, tuple(types), outputs, _SPAN_EXAMPLES_PER_BATCH),
        outputs,
        vocabulary,
        metric_fns(info),
    )
    return registered


def register_pretraining(
    paths: Sequence[Path],
    rates: Sequence[float],
    vocabulary: Vocabulary,
    length: int,
    task: PretrainingTask,
    seed: int = 0,
) -> str:
    """Registers a pretraining mixture: one SeqIO task per corpus, drawn from by rate.

    Args:
      paths: the corpora.
      rates: how often rows are drawn from each, relative to each other.
      vocabulary: the vocabulary of the rows.
      length: the length of a row.
      task: which rows to make.
      seed: decides what is random about sentence pairs.

    Returns:
      the name of the SeqIO mixture.
    """
    names = []
    for position, path in enumerate(paths):
        # SeqIO sorts the tasks of a mixture by name before it samples, so the names must sort as the paths do: a digest
        # of a path in front would make the order of the rows depend on the folder that the data lie in.
        key = _digest(path, vocabulary.path, vocabulary.digest, length, seed)
        name = f"{task.name}_{position:04d}_{key}"
        names.append(name)
        if name in seqio.TaskRegistry.names():
            continue
        if task.sentence_pairs:
            _register_pairs(name, path, vocabulary, length, (seed, position))
        else:
            _register_packed(name, path, vocabulary, length)
    mixture = f"pretrain_mixture_{_digest(names, list(rates))}"
    if mixture not in seqio.MixtureRegistry.names():
        # Rows of the other corpora go on after one has come to its end.
        sample = functools.partial(tf.data.Dataset.sample_from_datasets, stop_on_empty_dataset=False)
        seqio.MixtureRegistry.add(mixture, list(zip(names, rates, strict=True)), sample_fn=sample)
    return mixture


def _register_packed(name: str, path: Path, vocabulary: Vocabulary, length: int) -> None:
    """Registers the rows of one corpus: its documents, cut to length."""
    words = _tokenizer(vocabulary)
    outputs = {"input_ids": (tf.int32, (length,))}

    def parts() -> Iterator[dict[str, str]]:
        for part in corpora.read_parts(path):
            yield {"text": " ".join(part.sentences)}

    def encode(texts: np.ndarray) -> Sequence[np.ndarray]:
        return [preprocessors.pack_documents(words, vocabulary, _texts(texts), length)]

    def source(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del split, shuffle_files, seed
        return _dataset(parts, {"text": tf.string}, _PARTS_PER_BATCH)

    _register(
        name,
        seqio.FunctionDataSource(source, splits=["train"]),
        _batched(encode, ("text",), outputs, _PARTS_PER_BATCH),
        outputs,
        vocabulary,
    )


def _register_pairs(name: str, path: Path, vocabulary: Vocabulary, length: int, pair_seed: tuple[int, int]) -> None:
    """Registers the sentence pairs of one corpus; an example of the source is a block of documents."""
    words = _tokenizer(vocabulary)
    outputs = {
        "input_ids": (tf.int32, (length,)),
        "token_type_ids": (tf.uint8, (length,)),
        "next_sentence_label": (tf.int32, ()),
    }

    def blocks() -> Iterator[dict[str, Any]]:
        parts = corpora.read_parts(path)
        for number, block in enumerate(sentence_pairs.blocks_of_parts(parts, str(path))):
            yield {
                "texts": ["\n".join(part.sentences) for part in block],
                "documents": [part.document for part in block],
                "block": number,
            }

    def encode(texts: np.ndarray, documents: np.ndarray, block: np.ndarray) -> Sequence[np.ndarray]:
        seeds = (*pair_seed, int(block))
        rows = sentence_pairs.pair_rows(words, vocabulary, _texts(texts), documents.tolist(), length, seeds)
        return [rows[feature] for feature in outputs]

    def source(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del split, shuffle_files, seed
        signature = {
            "texts": tf.TensorSpec((None,), tf.string),
            "documents": tf.TensorSpec((None,), tf.int64),
            "block": tf.TensorSpec((), tf.int64),
        }
        return tf.data.Dataset.from_generator(lambda: _kept_errors(blocks()), output_signature=signature)

    _register(
        name,
        seqio.FunctionDataSource(source, splits=["train"]),
        _mapped(encode, ("texts", "documents", "block"), outputs),
        outputs,
        vocabulary,
    )


def _examples_source(
    source: str, info: TaskInfo, directory: Path, types: Mapping[str, Any], on_bad_row: OnBadRow
) -> seqio.FunctionDataSource:
    """Makes a data source of the reader of a task."""

    def dataset_fn(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed

        def examples() -> Iterator[dict[str, Any]]:
            for example in sources.read_examples(source, info, directory, split, on_bad_row):
                if info.kind == "span":
                    example |= training_answer(example)
                yield example

        return _dataset(examples, types, _EXAMPLES_PER_BATCH)

    return seqio.FunctionDataSource(dataset_fn, splits=_splits(source, info, directory))


def _splits(source: str, info: TaskInfo, directory: Path) -> list[str]:
    """Lists the splits whose files are there."""
    return [split for split in info.split_stems if sources.task_files(source, info, directory, split)]


def training_answer(example: Mapping[str, Any]) -> dict[str, int]:
    """Picks the answer that a model is trained on: the first.

    Args:
      example: from `tasks.readers.read_examples`.

    Returns:
      `answer_start` and `answer_end`, characters of the context; -1 and -1 where there is no answer.
    """
    if not example["answers"]:
        return {"answer_start": -1, "answer_end": -1}
    first = example["answers"][0]
    return {"answer_start": first["answer_start"], "answer_end": first["answer_start"] + len(first["text"])}


def _register(
    name: str,
    source: seqio.FunctionDataSource,
    preprocessor: Callable[[tf.data.Dataset], tf.data.Dataset],
    outputs: Mapping[str, tuple[Any, tuple[int, ...]]],
    vocabulary: Vocabulary,
    metrics: Sequence[MetricFn] = (),
) -> None:
    features = {
        feature: _feature(vocabulary.size if feature == "input_ids" else 0, dtype, len(shape))
        for feature, (dtype, shape) in outputs.items()
    }
    seqio.TaskRegistry.add(
        name, source=source, output_features=features, preprocessors=[preprocessor], metric_fns=list(metrics)
    )


def rows(name: str, split: str, batch_size: int) -> Iterator[Batch]:
    """Reads a registered task or mixture once, in order.

    Args:
      name: what a `register_` function gave back.
      split: `train`, `validation` or `test`.
      batch_size: the number of rows of a batch; the last may have fewer.

    Yields:
      feature -> `[rows, ...]`.

    Raises:
      DataError: what a reader raised, unchanged.
    """
    provider = seqio.get_mixture_or_task(name)
    dataset = provider.get_dataset(
        sequence_length=None,
        split=split,
        shuffle=False,
        seed=0,
        num_epochs=1,
        try_in_mem_cache=False,
        # Rows have their length already; passing each through an empty trimming step takes a tenth of the time.
        trim_output_features=False,
    )
    dataset = seqio.PassThroughFeatureConverter()(dataset, {}).batch(batch_size)
    _reader_errors.clear()
    try:
        yield from dataset.as_numpy_iterator()
    except tf.errors.OpError as error:
        if _reader_errors:
            raise _reader_errors[0] from error
        raise
