"""Inputs of a latency measurement: real tokenized rows with their padding and masks.

They reach the measuring processes in one file, so that all of them draw from the same rows.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.latency.timing import LatencyError
from benchmark.training.padding import row_lengths
from tasks.files.text_files import read_lines
from tasks.system.errors import InputError

# Rows kept of each length; more would bring no fresher inputs.
_MAX_ROWS = 4096
# Limits of the inputs of one cell on the device: number and bytes.
_MAX_INPUTS, _MAX_BYTES = 1024, 64 * 2**20

FEATURES = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Rows:
    """Rows of one length.

    Attributes:
        source: a description of their source.
        features: the three inputs of an encoder, int32 `[rows, length]`.
    """

    source: str
    features: Mapping[str, np.ndarray]

    @property
    def real_share(self) -> float:
        """Share of tokens that are not padding."""
        return float(self.features["attention_mask"].mean())

    @property
    def largest_id(self) -> int:
        """The largest token id."""
        return int(self.features["input_ids"].max())


def choose_rows(sources: Mapping[str, Mapping[str, np.ndarray]], length: int, pad_id: int, seed: int) -> Rows:
    """Chooses rows of the source that fits a length best: the narrowest that is wide enough, or else the widest.

    Args:
        sources: arrays by name: `input_ids` `[rows, width]`, and `token_type_ids` where the source has them.
        length: rows are cut or padded to it.
        pad_id: the id of padding.
        seed: seeds choice and order of the rows.

    Raises:
        LatencyError: no source has a row.
    """
    filled = {name: arrays for name, arrays in sources.items() if len(arrays["input_ids"])}
    if not filled:
        raise LatencyError("latency: the data have no row to measure with")
    widths = {name: arrays["input_ids"].shape[1] for name, arrays in filled.items()}
    fitting = [name for name in widths if widths[name] >= length]
    name = min(fitting, key=lambda n: widths[n]) if fitting else max(widths, key=lambda n: widths[n])
    count = len(filled[name]["input_ids"])
    order = np.random.default_rng(seed).permutation(count)[:_MAX_ROWS]
    width = min(length, widths[name])
    ids = np.full((len(order), length), pad_id, np.int32)
    types = np.zeros_like(ids)
    ids[:, :width] = filled[name]["input_ids"][order, :width]
    if "token_type_ids" in filled[name]:
        types[:, :width] = filled[name]["token_type_ids"][order, :width]
    # A row that is cut may end in a [PAD] of its text, which is no padding.
    used = row_lengths(filled[name]["input_ids"][order], pad_id)
    mask = (used[:, None] > np.arange(length)).astype(np.int32)
    return Rows(name, dict(zip(FEATURES, (ids, mask, types), strict=True)))


def write_rows(path: Path, rows: Mapping[int, Rows]) -> str:
    """Writes rows by length, so that a reader sees the whole file or none.

    Returns:
        SHA-256, in hexadecimal, of the content.
    """
    arrays: dict[str, Any] = {}
    digest = hashlib.sha256()
    for length, chosen in rows.items():
        arrays |= {f"{length}.{name}": values for name, values in chosen.features.items()}
        arrays[f"{length}.source"] = np.array(chosen.source)
    for name, values in sorted(arrays.items()):
        digest.update(f"{name} {values.shape}".encode() + values.tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as file:
        np.savez(file, **arrays)
    Path(temporary).replace(path)
    return digest.hexdigest()


def read_rows(path: Path, length: int) -> Rows:
    """Reads the rows of one length from a file of `write_rows`.

    Raises:
        LatencyError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            features = {name: file[f"{length}.{name}"] for name in FEATURES}
            return Rows(str(file[f"{length}.source"]), features)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise LatencyError(f"{path}: no rows of length {length} ({error})") from None


def batches(rows: Rows, batch_size: int, seed: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Draws batches without end: every row once in random order, then again in another order.

    Yields:
        Ids, mask and token types, int32 `[batch_size, length]` each.
    """
    rng = np.random.default_rng(seed)
    count = len(rows.features["input_ids"])
    waiting = np.empty(0, np.int64)
    while True:
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, rng.permutation(count)])
        chosen, waiting = waiting[:batch_size], waiting[batch_size:]
        yield tuple(rows.features[name][chosen] for name in FEATURES)


def number_of_inputs(batch_size: int, length: int) -> int:
    """Returns the number of inputs of a shape on the device; an input is repeated only after so many calls."""
    return max(4, min(_MAX_INPUTS, _MAX_BYTES // (batch_size * length * 4 * len(FEATURES))))


def rows_of_data(directory: Path, lengths: Sequence[int], seed: int) -> dict[int, Rows]:
    """Chooses rows of a run's own evaluation data, for each length.

    Args:
        directory: the folder that the data stage wrote.
        lengths: the lengths.
        seed: seeds the choice of rows.

    Raises:
        LatencyError: there are no data.
    """
    from tasks.arrays import token_arrays
    from tasks.system.errors import DataError

    path = directory / "data.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        sources = {}
        for task, splits in index["tasks"].items():
            split = "validation" if "validation" in splits else "test"
            sources[f"{task} {split}"] = token_arrays.load(directory / splits[split]).features
        return {length: choose_rows(sources, length, index["vocabulary"]["pad_id"], seed) for length in lengths}
    except (OSError, AttributeError, KeyError, TypeError, ValueError, DataError) as error:
        raise LatencyError(f"{path}: no data to measure with ({error}); run the stage 'data' first") from None


def rows_of_text(
    file: Path, vocabulary: Path | None, vocabulary_size: int, lengths: Sequence[int], seed: int, folder: Path
) -> dict[int, Rows]:
    """Makes rows of a text file, one for each non-empty line; arguments as of `tokenize_texts`.

    Raises:
        InputError: the file, plain or compressed, cannot be read or has no line.
    """
    try:
        texts = [line.strip() for line in read_lines(file) if line.strip()]
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error}") from None
    if not texts:
        raise InputError(f"{file}: expected at least one line of text")
    source, pad_id = tokenize_texts(texts[:_MAX_ROWS], vocabulary, vocabulary_size, folder)
    return {length: choose_rows({file.name: source}, length, pad_id, seed) for length in lengths}


def tokenize_texts(
    texts: Sequence[str], vocabulary: Path | None, vocabulary_size: int, folder: Path
) -> tuple[dict[str, np.ndarray], int]:
    """Tokenizes texts for a measurement without a run.

    Args:
        texts: one row each, without special tokens.
        vocabulary: a WordPiece file; None trains one on the texts.
        vocabulary_size: the largest number of tokens of a trained one.
        folder: destination of a trained one.

    Returns:
        A source for `choose_rows`, and the id of padding.
    """
    from tasks.encoding.vocabulary import load, tokenizer, train_wordpiece, write

    if vocabulary is None:
        folder.mkdir(parents=True, exist_ok=True)
        vocabulary = folder / "vocabulary.txt"
        write(train_wordpiece(texts, min(vocabulary_size, 4096)), vocabulary)
    words = load(vocabulary)
    encoded = tokenizer(words).encode_batch(list(texts), add_special_tokens=False)
    width = max((len(row.ids) for row in encoded), default=0) + 2
    ids = np.full((len(encoded), width), words.pad_id, np.int32)
    for row, one in zip(ids, encoded, strict=True):
        row[: len(one.ids) + 2] = [words.cls_id, *one.ids, words.sep_id]
    return {"input_ids": ids}, words.pad_id


def embedded_texts(number: int, words: int) -> list[str]:
    """Generates texts of the embedded data: documents, joined until each has at least `words` words."""
    from tasks.microworld.corpus import documents
    from tasks.microworld.world import make_world

    texts: list[str] = []
    current: list[str] = []
    length = 0
    for document in documents(0, "latency", make_world(0), number * (words + 200)):
        current += document.sentences
        length += document.words()
        if length >= words:
            texts.append(" ".join(current))
            current, length = [], 0
        if len(texts) == number:
            break
    return texts


def embedded_rows(lengths: Sequence[int], vocabulary_size: int, seed: int, folder: Path) -> dict[int, Rows]:
    """Makes rows of the embedded data for each length, tokenized with a vocabulary trained on them.

    Args:
        lengths: the lengths.
        vocabulary_size: size of the smallest vocabulary among the architectures.
        seed: seeds their order.
        folder: destination of the vocabulary.
    """
    # 0.6 words for each token fill a row; with 0.5 rows have some padding, as real text does.
    texts = {f"embedded data, length {length}": embedded_texts(512, max(1, length // 2)) for length in lengths}
    every = [text for some in texts.values() for text in some]
    source, pad_id = tokenize_texts(every, None, vocabulary_size, folder)
    chosen, start = {}, 0
    for length, (name, some) in zip(lengths, texts.items(), strict=True):
        own = {"input_ids": source["input_ids"][start : start + len(some)]}
        chosen[length] = choose_rows({name: own}, length, pad_id, seed)
        start += len(some)
    return chosen
