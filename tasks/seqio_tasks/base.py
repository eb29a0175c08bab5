"""The common parts of all SeqIO tasks: datasets of readers, preprocessors over batches, reading in order.

`rows` reads a registered task or mixture through `get_dataset` and a feature converter, as SeqIO trainers do; the
converter passes rows through, because they leave the tasks padded and typed for an encoder.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import seqio
import tensorflow as tf

from tasks.encoding.vocabulary import Vocabulary, tokenizer
from tasks.system.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from tasks.seqio_tasks.metrics import MetricFn

Batch = dict[str, np.ndarray]

# tf.data replaces every Python exception; the one that a reader raised is kept here, to be raised again.
_reader_errors: list[DataError] = []


def name_digest(*parts: object) -> str:
    """Digests everything that shapes the rows of a task, for its name."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:12]


def make_dataset(
    rows: Callable[[], Iterator[Mapping[str, Any]]], types: Mapping[str, tf.DType], chunk: int
) -> tf.data.Dataset:
    """Makes a dataset of the rows of a reader.

    Rows cross from Python to TensorFlow in chunks, because each crossing costs about half a millisecond.

    Args:
        rows: opens the reader; its `DataError` is kept for the function `rows` to raise.
        types: feature -> TensorFlow type; every value is a scalar.
        chunk: the number of rows that cross at once.

    Returns:
        A dataset of single rows.
    """

    def generate() -> Iterator[dict[str, list[Any]]]:
        reader = rows()
        while part := list(itertools.islice(reader, chunk)):
            yield {name: [row[name] for row in part] for name in types}

    signature = {name: tf.TensorSpec((None,), kind) for name, kind in types.items()}
    return tf.data.Dataset.from_generator(lambda: keep_errors(generate()), output_signature=signature).unbatch()


def keep_errors(reader: Iterator[Any]) -> Iterator[Any]:
    """Passes items on and notes the error that ends them, for `rows` to raise."""
    try:
        yield from reader
    except DataError as error:
        _reader_errors.append(error)
        raise


def _feature(vocabulary_size: int, dtype: tf.DType, rank: int) -> seqio.Feature:
    """Describes an output feature whose values are final: no end marker, no further encoding."""
    return seqio.Feature(vocabulary=seqio.PassThroughVocabulary(vocabulary_size), add_eos=False, dtype=dtype, rank=rank)


def batched(
    encode: Callable[..., Sequence[np.ndarray]],
    inputs: Sequence[str],
    outputs: Mapping[str, tuple[tf.DType, tuple[int, ...]]],
    batch_size: int,
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """Makes a SeqIO preprocessor of a function over batches: the tokenizer is fast on batches only.

    Args:
        encode: takes one array per input, gives one array per output, with any number of rows.
        inputs: the features to take.
        outputs: feature -> its type and the shape of one row.
        batch_size: the number of examples that `encode` gets at once.

    Returns:
        A function of datasets, row by row at both ends.
    """
    encode_batches = mapped(encode, inputs, outputs)
    return lambda dataset: encode_batches(dataset.batch(batch_size))


def mapped(
    encode: Callable[..., Sequence[np.ndarray]],
    inputs: Sequence[str],
    outputs: Mapping[str, tuple[tf.DType, tuple[int, ...]]],
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """Makes a SeqIO preprocessor of a function that gives any number of rows for each example.

    Args:
        encode: takes one array per input, gives one array per output, with any number of rows.
        inputs: the features to take.
        outputs: feature -> its type and the shape of one row.

    Returns:
        A function of datasets that gives single rows.
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
def cached_tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    """Builds the tokenizer of a vocabulary once."""
    return tokenizer(vocabulary)


def decode_texts(column: np.ndarray) -> list[str]:
    """Decodes a column of UTF-8 strings from TensorFlow."""
    return [value.decode() for value in column]


def register(
    name: str,
    source: seqio.FunctionDataSource,
    preprocessor: Callable[[tf.data.Dataset], tf.data.Dataset],
    outputs: Mapping[str, tuple[tf.DType, tuple[int, ...]]],
    vocabulary: Vocabulary,
    metrics: Sequence[MetricFn] = (),
) -> None:
    """Registers a SeqIO task.

    Args:
        name: its name.
        source: gives the examples.
        preprocessor: makes rows of them.
        outputs: feature -> its type and the shape of one row.
        vocabulary: the vocabulary of `input_ids`.
        metrics: T5's functions for the task.
    """
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
        name: the result of a `register_` function.
        split: `train`, `validation` or `test`.
        batch_size: the number of rows of a batch; the last may have fewer.

    Yields:
        Feature -> `[rows, ...]`.

    Raises:
        DataError: that of a reader, unchanged.
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
