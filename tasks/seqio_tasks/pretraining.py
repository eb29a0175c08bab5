"""SeqIO tasks and mixtures of pretraining text: one task per corpus, drawn from by rate."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import seqio
import tensorflow as tf

from tasks.encoding import preprocessors
from tasks.seqio_tasks import sentence_pairs
from tasks.seqio_tasks.base import (
    batched,
    cached_tokenizer,
    decode_texts,
    keep_errors,
    make_dataset,
    mapped,
    name_digest,
    register,
)
from tasks.sources import corpora

if TYPE_CHECKING:
    import numpy as np

    from tasks.encoding.vocabulary import Vocabulary
    from tasks.pretraining import PretrainingTask

# Parts of documents are longer than examples.
_PARTS_PER_BATCH = 16


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
        rates: the frequency of rows from each corpus, relative to the others.
        vocabulary: the vocabulary of the rows.
        length: the length of a row.
        task: the kind of rows.
        seed: decides all random choices of sentence pairs.

    Returns:
        The name of the SeqIO mixture. Beside the features of `task` its rows have `document`, the number of the
        document that they come from, which no other document of the mixture has.
    """
    names = []
    for position, path in enumerate(paths):
        # SeqIO sorts the tasks of a mixture by name before it samples, so the names must sort as the paths do: a digest
        # of a path in front would make the order of the rows depend on the folder that the data lie in.
        key = name_digest(path, vocabulary.path, vocabulary.digest, length, seed)
        name = f"{task.name}_{position:04d}_{key}"
        names.append(name)
        if name in seqio.TaskRegistry.names():
            continue
        if task.sentence_pairs:
            _register_pairs(name, path, vocabulary, length, task, (seed, position), len(paths))
        else:
            _register_packed(name, path, vocabulary, length, position, len(paths))
    mixture = f"pretrain_mixture_{name_digest(names, list(rates))}"
    if mixture not in seqio.MixtureRegistry.names():
        # After the end of one corpus, rows of the others continue.
        sample = functools.partial(tf.data.Dataset.sample_from_datasets, stop_on_empty_dataset=False)
        seqio.MixtureRegistry.add(mixture, list(zip(names, rates, strict=True)), sample_fn=sample)
    return mixture


def _register_packed(
    name: str, path: Path, vocabulary: Vocabulary, length: int, position: int, num_corpora: int
) -> None:
    """Registers the rows of the corpus at `position` of a mixture: its documents, cut to length."""
    tokenizer = cached_tokenizer(vocabulary)
    outputs = {"input_ids": (tf.int32, (length,)), "document": (tf.int64, ())}

    def parts() -> Iterator[dict[str, Any]]:
        for part in corpora.read_parts(path):
            yield {"text": " ".join(part.sentences), "document": part.document * num_corpora + position}

    def encode(texts: np.ndarray, documents: np.ndarray) -> Sequence[np.ndarray]:
        rows, places = preprocessors.pack_documents(tokenizer, vocabulary, decode_texts(texts), length)
        return [rows, documents[places]]

    def source(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del split, shuffle_files, seed
        return make_dataset(parts, {"text": tf.string, "document": tf.int64}, _PARTS_PER_BATCH)

    register(
        name,
        seqio.FunctionDataSource(source, splits=["train"]),
        batched(encode, ("text", "document"), outputs, _PARTS_PER_BATCH),
        outputs,
        vocabulary,
    )


def _register_pairs(
    name: str,
    path: Path,
    vocabulary: Vocabulary,
    length: int,
    task: PretrainingTask,
    pair_seed: tuple[int, int],
    num_corpora: int,
) -> None:
    """Registers the sentence pairs of one corpus; an example of the source is a block of documents.

    `pair_seed` is the seed with the position of the corpus in the mixture.
    """
    tokenizer = cached_tokenizer(vocabulary)
    outputs = {
        "input_ids": (tf.int32, (length,)),
        "token_type_ids": (tf.uint8, (length,)),
        "next_sentence_label": (tf.int32, ()),
        "document": (tf.int64, ()),
    }

    def blocks() -> Iterator[dict[str, Any]]:
        parts = corpora.read_parts(path)
        for number, block in enumerate(sentence_pairs.blocks_of_parts(parts, str(path))):
            yield {
                "texts": ["\n".join(part.sentences) for part in block],
                "documents": [part.document * num_corpora + pair_seed[1] for part in block],
                "block": number,
            }

    def encode(texts: np.ndarray, documents: np.ndarray, block: np.ndarray) -> Sequence[np.ndarray]:
        seeds = (*pair_seed, int(block))
        numbers = documents.tolist()
        rows, places = sentence_pairs.pair_rows(tokenizer, vocabulary, decode_texts(texts), numbers, length, seeds)
        return [*(rows[feature] for feature in task.features), documents[places]]

    def source(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del split, shuffle_files, seed
        signature = {
            "texts": tf.TensorSpec((None,), tf.string),
            "documents": tf.TensorSpec((None,), tf.int64),
            "block": tf.TensorSpec((), tf.int64),
        }
        return tf.data.Dataset.from_generator(lambda: keep_errors(blocks()), output_signature=signature)

    register(
        name,
        seqio.FunctionDataSource(source, splits=["train"]),
        mapped(encode, ("texts", "documents", "block"), outputs),
        outputs,
        vocabulary,
    )
