"""Rows of token ids from texts: pure functions over NumPy arrays, without TensorFlow.

Rows follow BERT (Devlin et al. 2018, arXiv 1810.04805): `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, padded at the end
with [PAD]; `token_type_ids` is 1 on b and its [SEP], else 0. With a vocabulary of RoBERTa or MPNet they are
`<s> a </s>` and `<s> a </s></s> b </s>`, and `token_type_ids` is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from tasks.encoding.vocabulary import Vocabulary

# Shorter documents (stubs, stray headings) give masked-language modelling nothing to predict from.
MIN_DOCUMENT_TOKENS = 8


def token_id_dtype(vocabulary_size: int) -> np.dtype:
    """Chooses the type in which token ids are stored.

    Returns:
        `uint16` where it suffices, else `uint32`.
    """
    return np.dtype(np.uint16 if vocabulary_size <= 65_535 else np.uint32)


def tokenize_batch(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Tokenises texts without adding special tokens.

    Returns:
        The token ids of each text.
    """
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def pair_lengths(first: int, second: int, room: int) -> tuple[int, int]:
    """Shortens a pair to the room: the longer part loses tokens first, on equality the second (as in BERT).

    Args:
        first: number of tokens of the first part.
        second: number of tokens of the second part.
        room: number of tokens that both may have together.

    Returns:
        The numbers of tokens to keep.
    """
    if first + second <= room:
        return first, second
    half_second = room // 2
    half_first = room - half_second
    if second <= half_second:
        return room - second, second
    if first <= half_first:
        return first, room - first
    return half_first, half_second


def join_pair(vocabulary: Vocabulary, first: Sequence[int], second: Sequence[int]) -> tuple[list[int], int]:
    """Joins the tokens of a pair with special tokens.

    Returns:
        The row without padding, and the place at which the second part begins.
    """
    head = [vocabulary.cls_id, *first, *[vocabulary.sep_id] * vocabulary.pair_separators]
    return [*head, *second, vocabulary.sep_id], len(head)


def encode_rows(
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    first: Sequence[str],
    second: Sequence[str] | None,
    length: int,
) -> dict[str, np.ndarray]:
    """Encodes single texts or pairs of texts.

    Args:
        tokenizer: from `tasks.encoding.vocabulary.tokenizer`.
        vocabulary: the ids of the special tokens.
        first: `batch` texts.
        second: `batch` texts, or None for single texts.
        length: the length of a row; longer inputs lose tokens at the end, of the longer part first.

    Returns:
        `input_ids` int32 and `token_type_ids` uint8, both `[batch, length]`.
    """
    first_ids = tokenize_batch(tokenizer, first)
    second_ids = tokenize_batch(tokenizer, second) if second is not None else None
    input_ids = np.full((len(first_ids), length), vocabulary.pad_id, np.int32)
    token_type_ids = np.zeros((len(first_ids), length), np.uint8)
    for row, ids in enumerate(first_ids):
        if second_ids is None:
            tokens = [vocabulary.cls_id, *ids[: length - 2], vocabulary.sep_id]
        else:
            other = second_ids[row]
            keep, keep_other = pair_lengths(len(ids), len(other), length - vocabulary.pair_specials)
            tokens, start = join_pair(vocabulary, ids[:keep], other[:keep_other])
            token_type_ids[row, start : len(tokens)] = vocabulary.second_type_id
        input_ids[row, : len(tokens)] = tokens
    return {"input_ids": input_ids, "token_type_ids": token_type_ids}


def row_lengths(num_tokens: int, room: int) -> list[int]:
    """Divides the tokens of one document among rows.

    Args:
        num_tokens: the number of tokens of the document.
        room: the number of tokens that a row holds, without [CLS] and [SEP].

    Returns:
        The number of tokens of each row, in order. All rows are full but the last; a last row of less than half the
        room shares evenly with the one before it, so that no row is a stump.
    """
    full, tail = divmod(num_tokens, room)
    lengths = [room] * full
    if tail and full and tail < room // 2:
        last = (room + tail) // 2
        lengths[-1:] = [room + tail - last, last]
    elif tail:
        lengths.append(tail)
    return lengths


def pack_documents(
    tokenizer: Tokenizer, vocabulary: Vocabulary, documents: Sequence[str], length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts documents into pretraining rows; a row never crosses documents.

    Args:
        tokenizer: from `tasks.encoding.vocabulary.tokenizer`.
        vocabulary: the ids of the special tokens.
        documents: texts; those with fewer than `MIN_DOCUMENT_TOKENS` tokens are left out.
        length: the length of a row.

    Returns:
        The rows, int32 `[rows, length]`: `[CLS] tokens [SEP]`, padded; and the place in `documents` that each of them
        comes from, int64 `[rows]`.
    """
    rows: list[np.ndarray] = []
    places: list[int] = []
    for place, ids in enumerate(tokenize_batch(tokenizer, documents)):
        if len(ids) < MIN_DOCUMENT_TOKENS:
            continue
        tokens = np.asarray(ids, np.int32)
        start = 0
        for count in row_lengths(len(tokens), length - 2):
            row = np.full(length, vocabulary.pad_id, np.int32)
            row[0] = vocabulary.cls_id
            row[1 : count + 1] = tokens[start : start + count]
            row[count + 1] = vocabulary.sep_id
            rows.append(row)
            places.append(place)
            start += count
    packed = np.stack(rows) if rows else np.zeros((0, length), np.int32)
    return packed, np.array(places, np.int64)
