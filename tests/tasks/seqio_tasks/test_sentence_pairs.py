"""Sentence pairs, checked against the documents that they come from: every token says where it stood."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.encoding import preprocessors, vocabulary
from tasks.pretraining import PRETRAINING_TASKS, pretraining_task
from tasks.seqio_tasks import sentence_pairs
from tasks.sources.corpora import MAX_PART_SENTENCES, Part
from tasks.system.errors import DataError

# Each token of the small corpora below is another word, so that a row shows where its tokens come from.
NUM_WORDS = 30_000
FIRST_WORD = len(vocabulary.SPECIAL_TOKENS)


@pytest.fixture(scope="session")
def words(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    vocabulary.write([*vocabulary.SPECIAL_TOKENS, *(f"w{number}" for number in range(NUM_WORDS))], path)
    return vocabulary.tokenizer(path), vocabulary.load(path)


def make_corpus(documents):
    """Sentence lengths of every document -> one text per document, and the documents as token ids."""
    number, texts, tokens = 0, [], []
    for lengths in documents:
        sentences = []
        for length in lengths:
            sentences.append(list(range(number, number + length)))
            number += length
        texts.append("\n".join(" ".join(f"w{word}" for word in sentence) for sentence in sentences))
        tokens.append([[word + FIRST_WORD for word in sentence] for sentence in sentences])
    assert number <= NUM_WORDS
    return texts, tokens


def parts_of(ids, types, special):
    """Splits a row into a and b, and checks its special tokens, padding and types."""
    used = int((ids != special.pad_id).sum())
    assert not ids[used:].any() and not types[used:].any()
    first_end = int(np.flatnonzero(ids == special.sep_id)[0])
    assert ids[0] == special.cls_id and ids[used - 1] == special.sep_id
    assert (ids[:used] == special.sep_id).sum() == 2
    assert types[: first_end + 1].tolist() == [0] * (first_end + 1)
    assert types[first_end + 1 : used].tolist() == [1] * (used - first_end - 1)
    return ids[1:first_end].tolist(), ids[first_end + 1 : used - 1].tolist(), used


documents = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=25), min_size=2, max_size=8)


@settings(max_examples=60)
@given(documents, st.integers(8, 64), st.integers(0, 2**32))
def test_every_row_is_two_pieces_of_text(words, lengths, length, seed):
    tokenizer, special = words
    texts, tokens = make_corpus(lengths)
    home = {word: number for number, document in enumerate(tokens) for sentence in document for word in sentence}
    rows, _ = sentence_pairs.pair_rows(tokenizer, special, texts, range(len(texts)), length, (seed,))
    assert {name: array.dtype.name for name, array in rows.items()} == {
        "input_ids": "int32",
        "token_type_ids": "uint8",
        "next_sentence_label": "int32",
    }
    for ids, types, label in zip(*rows.values(), strict=True):
        first, second, used = parts_of(ids, types, special)
        assert first and second
        for piece in (first, second):
            # Consecutive numbers are consecutive words: each piece is text of one document without a gap.
            assert piece == list(range(piece[0], piece[0] + len(piece)))
            assert len({home[word] for word in piece}) == 1
        if label:
            assert home[first[0]] != home[second[0]]
        else:
            assert home[first[0]] == home[second[0]]
            gap = second[0] - first[-1] - 1
            # Only a row that had to lose tokens may have lost some between a and b.
            assert gap == 0 or (gap > 0 and used == length)


@settings(max_examples=30)
@given(documents, st.integers(0, 2**32))
def test_no_text_is_lost(words, lengths, seed):
    """Where rows have room for everything, every word is in an a or in a b that follows its a."""
    tokenizer, special = words
    texts, tokens = make_corpus(lengths)
    rows, _ = sentence_pairs.pair_rows(tokenizer, special, texts, range(len(texts)), 2000, (seed,))
    found = Counter()
    for ids, types, label in zip(*rows.values(), strict=True):
        first, second, _ = parts_of(ids, types, special)
        found.update(first if label else first + second)
    usable = [document for document in tokens if sum(map(len, document)) >= preprocessors.MIN_DOCUMENT_TOKENS]
    if len(usable) > 1:
        assert found == Counter(word for document in usable for sentence in document for word in sentence)


def test_rates(words):
    """Half of the rows have a random b, a tenth is short, and both ends lose the same."""
    tokenizer, special = words
    texts, tokens = make_corpus([[12] * 40] * 50)
    home = {word: number for number, document in enumerate(tokens) for sentence in document for word in sentence}
    labels, lengths, others = [], [], Counter()
    lost_in_front = lost = 0
    for seed in range(10):
        rows, _ = sentence_pairs.pair_rows(tokenizer, special, texts, range(50), 64, (seed,))
        labels.extend(rows["next_sentence_label"])
        for ids, types, label in zip(*rows.values(), strict=True):
            first, second, used = parts_of(ids, types, special)
            lengths.append(used)
            if label:
                others[home[second[0]]] += 1
            # Sentences have 12 words: the tokens that a lacks to a multiple of 12 were cut off.
            if len(first) % 12:
                lost += 12 - len(first) % 12
                lost_in_front += (first[0] - FIRST_WORD) % 12
    assert np.mean(labels) == pytest.approx(0.5, abs=0.06)
    # Short rows are drawn evenly from 2 to 61 tokens; whole sentences, at least two of them, leave most below 50.
    assert 0.05 < np.mean(np.array(lengths) < 50) < 0.2
    assert lost > 200
    assert lost_in_front / lost == pytest.approx(0.5, abs=0.06)
    assert len(others) == 50
    assert max(others.values()) < 3 * np.mean(list(others.values()))


def test_seed_decides_everything(words):
    tokenizer, special = words
    texts, _ = make_corpus([[9, 14, 3, 20, 8] * 4] * 6)

    def rows(*seed):
        made, _ = sentence_pairs.pair_rows(tokenizer, special, texts, range(6), 48, seed)
        return {name: array.tolist() for name, array in made.items()}

    assert rows(3, 0, 1) == rows(3, 0, 1)
    assert rows(3, 0, 1) != rows(4, 0, 1)
    assert rows(3, 0, 1) != rows(3, 0, 2)


def test_parts_of_one_document_are_no_random_continuation(words):
    tokenizer, special = words
    texts, tokens = make_corpus([[10] * 20] * 4)
    documents = [7, 7, 7, 8]
    home = {w: documents[n] for n, document in enumerate(tokens) for sentence in document for w in sentence}
    rows, places = sentence_pairs.pair_rows(tokenizer, special, texts, documents, 64, (0,))
    for ids, types, label, place in zip(*rows.values(), places, strict=True):
        first, second, _ = parts_of(ids, types, special)
        assert (home[first[0]] != home[second[0]]) == label
        assert home[first[0]] == documents[place]


@given(st.lists(st.integers(1, 400), min_size=2, max_size=12))
def test_blocks_hold_the_corpus_and_two_documents_each(lengths):
    parts = [Part(number, [f"{number}-{n}"]) for number, length in enumerate(lengths) for n in range(length)]
    blocks = list(sentence_pairs.blocks_of_parts(iter(parts), "corpus"))
    assert [part for block in blocks for part in block] == parts
    assert all(len({part.document for part in block}) > 1 for block in blocks)
    assert len(blocks) == 1 or min(map(len, blocks)) >= sentence_pairs.PARTS_PER_BLOCK


def test_blocks_stream():
    def endless():
        number = 0
        while True:
            yield Part(number, ["text"])
            number += 1

    blocks = sentence_pairs.blocks_of_parts(endless(), "corpus")
    assert len(next(blocks)) == sentence_pairs.PARTS_PER_BLOCK


def test_one_document_is_refused():
    with pytest.raises(DataError, match="book: one document; sentence pairs need at least two"):
        list(sentence_pairs.blocks_of_parts([Part(0, ["text"])] * 5, "book"))
    endless = (Part(0, ["text"]) for _ in iter(int, 1))
    with pytest.raises(DataError, match=f"book: {2048 * MAX_PART_SENTENCES:,} sentences in a row belong to one"):
        list(sentence_pairs.blocks_of_parts(endless, "book"))


def test_versions_never_change(words):
    """A published version gives the same rows for ever: where this fails, add a version instead of changing one."""
    tokenizer, special = words
    texts, _ = make_corpus([[5, 17, 9, 30, 2, 11] * 5, [8] * 40, [25, 1, 1, 60] * 6])
    packed, _ = preprocessors.pack_documents(tokenizer, special, texts, 64)
    pairs, _ = sentence_pairs.pair_rows(tokenizer, special, texts, range(3), 64, (0, 0, 0))
    digests = {
        "pretrain_mlm_v1": hashlib.sha256(packed.tobytes()).hexdigest()[:16],
        "pretrain_mlm_nsp_v1": hashlib.sha256(b"".join(array.tobytes() for array in pairs.values())).hexdigest()[:16],
    }
    assert digests == ROW_DIGESTS
    assert set(PRETRAINING_TASKS) == set(ROW_DIGESTS)
    assert pretraining_task(True).sentence_pairs and not pretraining_task(False).sentence_pairs


ROW_DIGESTS = {"pretrain_mlm_v1": "4f22be5a2dd788b3", "pretrain_mlm_nsp_v1": "762f58de6a64e78f"}
