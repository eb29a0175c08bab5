"""Sentence pairs for next-sentence prediction (Devlin et al. 2018, arXiv 1810.04805, section 3.1).

The procedure is that of `create_pretraining_data.py` in the released BERT code: sentences of a document are collected
until a row is full, a random sentence boundary divides them into a and b, and for half of the rows b is replaced by
sentences from another document; the sentences that b loses are used again by the next row. Pairs that are too
long lose tokens of the longer side, each from a random end.

Two things differ, because text is streamed. The other document is drawn from the same block of documents
(`blocks_of_parts`), not from the whole corpus. Short rows are drawn row by row, so that they are 10 % of the rows; BERT
draws once per document, which would turn whole books into short rows.

Everything is a pure function of texts and seed; the number of threads or processes does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tasks.encoding.preprocessors import MIN_DOCUMENT_TOKENS, join_pair, pair_lengths, tokenize_batch
from tasks.sources.corpora import MAX_PART_SENTENCES, Part
from tasks.system.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from tasks.encoding.vocabulary import Vocabulary

RANDOM_NEXT_RATE = 0.5
SHORT_ROW_RATE = 0.1
# The other document is drawn from the same block, which is held in memory: some megabytes of text.
PARTS_PER_BLOCK = 128
_MAX_PARTS_PER_BLOCK = 2048
_TEXTS_PER_BATCH = 1024

# The tokens of consecutive sentences of one document.
TokenSentences = list[list[int]]


def blocks_of_parts(parts: Iterable[Part], name: str) -> Iterator[list[Part]]:
    """Divides a corpus into blocks of at least two documents each.

    Args:
        parts: the corpus.
        name: the name of the corpus in errors.

    Yields:
        `PARTS_PER_BLOCK` consecutive parts or more: a block grows until it holds two documents, and parts left over
        at the end join the last block.

    Raises:
        DataError: if the corpus is one document, or one of its documents is too long to hold in memory.
    """
    held: list[Part] = []
    block: list[Part] = []
    for part in parts:
        block.append(part)
        several = block[0].document != part.document
        if len(block) >= PARTS_PER_BLOCK and several:
            if held:
                yield held
            held, block = block, []
        elif len(block) >= _MAX_PARTS_PER_BLOCK:
            raise DataError(
                f"{name}: {len(block) * MAX_PART_SENTENCES:,} sentences in a row belong to one document; sentence pairs"
                " need several documents: one file per book, or <doc> elements"
            )
    held.extend(block)
    if held and held[0].document == held[-1].document:
        raise DataError(f"{name}: one document; sentence pairs need at least two, to draw a random next sentence from")
    if held:
        yield held


def pair_rows(
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    texts: Sequence[str],
    documents: Sequence[int],
    length: int,
    seed: tuple[int, ...],
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Makes the rows of one block.

    Args:
        tokenizer: from `tasks.encoding.vocabulary.tokenizer`.
        vocabulary: the ids of the special tokens.
        texts: the parts of the block, each with one sentence per line.
        documents: the document that each part belongs to.
        length: the length of a row.
        seed: decides every draw; no two blocks should have the same.

    Returns:
        `input_ids` int32 and `token_type_ids` uint8 `[rows, length]`: `[CLS] a [SEP] b [SEP]`, padded, 1 on b and its
        [SEP], or as the vocabulary joins pairs; `next_sentence_label` int32 `[rows]`: 0 where b follows a, 1 where b is
        from another document. And the place in `texts` that a comes from, int64 `[rows]`.
    """
    parts = [_token_sentences(tokenizer, text) for text in texts]
    usable = [index for index, part in enumerate(parts) if sum(map(len, part)) >= MIN_DOCUMENT_TOKENS]
    pairs: list[tuple[list[int], list[int], bool]] = []
    places: list[int] = []
    for index in usable:
        others = [parts[other] for other in usable if documents[other] != documents[index]]
        # A generator for each part: its rows depend on no other part's number of draws.
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence((*seed, index))))
        pairs.extend(_pairs(parts[index], others, length - vocabulary.pair_specials, random))
        places.extend([index] * (len(pairs) - len(places)))
    input_ids = np.full((len(pairs), length), vocabulary.pad_id, np.int32)
    token_type_ids = np.zeros((len(pairs), length), np.uint8)
    for row, (first, second, _) in enumerate(pairs):
        tokens, start = join_pair(vocabulary, first, second)
        input_ids[row, : len(tokens)] = tokens
        token_type_ids[row, start : len(tokens)] = vocabulary.second_type_id
    labels = np.array([is_random for *_, is_random in pairs], np.int32)
    rows: dict[str, np.ndarray] = {"input_ids": input_ids, "token_type_ids": token_type_ids}
    return {**rows, "next_sentence_label": labels}, np.array(places, np.int64)


def _token_sentences(tokenizer: Tokenizer, text: str) -> TokenSentences:
    """Tokenises the lines of a text; lines without tokens are left out.

    Byte-level BPE keeps spaces in its tokens: every sentence but the first has the one before it, as in packed rows.
    WordPiece drops it.
    """
    first, *others = text.split("\n")
    sentences = [first, *(f" {sentence}" for sentence in others)]
    tokens: TokenSentences = []
    for start in range(0, len(sentences), _TEXTS_PER_BATCH):
        tokens.extend(filter(None, tokenize_batch(tokenizer, sentences[start : start + _TEXTS_PER_BATCH])))
    return tokens


def _pairs(
    sentences: TokenSentences, others: Sequence[TokenSentences], room: int, random: np.random.Generator
) -> Iterator[tuple[list[int], list[int], bool]]:
    """Makes the pairs of one part: tokens of a, tokens of b, and True where b is random."""
    position = 0
    while position < len(sentences):
        target = int(random.integers(2, room + 1)) if random.random() < SHORT_ROW_RATE else room
        end, collected = position, 0
        while end < len(sentences) and collected < target:
            collected += len(sentences[end])
            end += 1
        boundary = position + (int(random.integers(1, end - position)) if end - position > 1 else 1)
        first = _join(sentences[position:boundary])
        # Draws the random number in any case; a single sentence has no continuation.
        is_random = bool(random.random() < RANDOM_NEXT_RATE) or boundary == end
        if is_random and not others:
            # All other documents of the block are stumps: there is nothing to draw from.
            is_random = False
        if is_random:
            second = _random_continuation(others, target - len(first), random)
            position = boundary
        else:
            second = _join(sentences[boundary:end])
            position = end
        if second:
            yield *_truncated(first, second, room, random), is_random


def _join(sentences: TokenSentences) -> list[int]:
    return [token for sentence in sentences for token in sentence]


def _random_continuation(others: Sequence[TokenSentences], wanted: int, random: np.random.Generator) -> list[int]:
    """Takes whole sentences from a random place until there are `wanted` tokens or the part ends."""
    other = others[int(random.integers(len(others)))]
    start = int(random.integers(len(other)))
    tokens: list[int] = []
    for sentence in other[start:]:
        tokens.extend(sentence)
        if len(tokens) >= wanted:
            break
    return tokens


def _truncated(
    first: list[int], second: list[int], room: int, random: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Shortens a pair to `room` tokens: the longer side loses one token after the other, each from a random end."""
    keep = pair_lengths(len(first), len(second), room)
    shortened = []
    for tokens, kept in zip((first, second), keep, strict=True):
        surplus = len(tokens) - kept
        front = int(random.binomial(surplus, 0.5)) if surplus else 0
        shortened.append(tokens[front : front + kept])
    return shortened[0], shortened[1]
