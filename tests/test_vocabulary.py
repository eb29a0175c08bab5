"""WordPiece training and tokenisation, against transformers' BERT tokenizer."""

import functools
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import vocabulary
from tasks.catalogue import get_task
from tasks.corpora import read_documents
from tasks.errors import DataError
from tasks.readers import read_examples

TEXTS = [
    "The cats sat on the mats, and the dogs sat on the logs.",
    "A naïve café owner's résumé: 42 pages, 4.2 stars!",
    "unhappily happily unhappy happy happiness unhappiness",
    "東京タワー is tall 😀",
] * 3
ODD = "éèüßñçŒžﬁ东京の한글😀👩‍👧\u00ad\u200b\u0301\t\n\x00\ufffd\ufeff"
ALPHABET = st.sampled_from(list("abcde ThecatsonNAÏVE'\"-.,!?#[]@ " + ODD)) | st.characters(exclude_categories=["Cs"])


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    vocabulary.write(vocabulary.train_wordpiece(TEXTS, 200), path)
    return path


@functools.lru_cache
def tokenizers_for(path):
    from transformers import BertTokenizerFast

    return vocabulary.tokenizer(path), BertTokenizerFast(vocab=str(path), do_lower_case=True)


def check_equal(path, texts):
    ours, theirs = tokenizers_for(path)
    expected = theirs(texts, add_special_tokens=False, return_offsets_mapping=True)
    found = ours.encode_batch(texts, add_special_tokens=False)
    assert [encoding.ids for encoding in found] == expected["input_ids"]
    assert [encoding.offsets for encoding in found] == [[tuple(o) for o in row] for row in expected["offset_mapping"]]


def test_special_tokens_come_first_and_size_is_exact(trained):
    loaded = vocabulary.load(trained)
    assert loaded.size == 200
    assert (loaded.pad_id, loaded.unk_id, loaded.cls_id, loaded.sep_id, loaded.mask_id) == (0, 1, 2, 3, 4)
    tokens = trained.read_text().splitlines()
    assert len(set(tokens)) == 200
    assert tokens[-1].startswith("[unused")


def test_frequent_words_become_tokens(trained):
    ours, _ = tokenizers_for(trained)
    assert ours.encode("the happy cats", add_special_tokens=False).tokens[:2] == ["the", "happy"]
    assert "##ly" in trained.read_text().splitlines() or "##ily" in trained.read_text().splitlines()


def test_merges_are_those_of_byte_pair_training():
    """Every merge of a naive trainer, ties broken by nothing: the counts are all different."""
    words = {"abab": 40, "abc": 27, "cab": 11, "b": 3}
    pieces = {word: [word[0], *("##" + c for c in word[1:])] for word in words}
    merged = []
    while True:
        counts = {}
        for word, parts in pieces.items():
            for pair in zip(parts, parts[1:], strict=False):
                counts[pair] = counts.get(pair, 0) + words[word]
        if not counts or max(counts.values()) < 2:
            break
        best = max(counts, key=counts.get)
        assert list(counts.values()).count(counts[best]) == 1 or len(merged) > 1
        token = best[0] + best[1].removeprefix("##")
        merged.append(token)
        for parts in pieces.values():
            for i in range(len(parts) - 1, 0, -1):
                if tuple(parts[i - 1 : i + 1]) == best:
                    parts[i - 1 : i + 1] = [token]
    texts = [f"{word} " * count for word, count in words.items()]
    tokens = vocabulary.train_wordpiece(texts, 5 + 6 + len(merged))
    assert set(tokens[5:11]) == {"a", "b", "c", "##a", "##b", "##c"}
    assert tokens[11:13] == merged[:2]
    assert set(tokens[11:]) == set(merged)


def test_training_does_not_depend_on_order():
    assert vocabulary.train_wordpiece(TEXTS, 150) == vocabulary.train_wordpiece(reversed(TEXTS), 150)


TRAIN = """
import random, sys
from tasks.vocabulary import train_wordpiece
rng = random.Random(0)
words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 9))) for _ in range(4000)]
print(" ".join(train_wordpiece([" ".join(rng.choices(words, k=12)) for _ in range(1500)], 900)))
"""


def test_training_does_not_depend_on_process_or_threads():
    """Random words have many equally frequent pairs, and each process hashes with other keys."""
    results = {
        subprocess.run(
            [sys.executable, "-c", TRAIN],
            env={**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2", "4")
    }
    assert len(results) == 1
    assert len(results.pop().split()) == 900


def test_too_small_or_nothing_to_train_on():
    with pytest.raises(DataError, match="vocabulary_size is 10; these texts need at least"):
        vocabulary.train_wordpiece(TEXTS, 10)
    with pytest.raises(DataError, match="no words"):
        vocabulary.train_wordpiece([" \n"], 100)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", r"no \[MASK\]"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\na\n", "token 'a' occurs 2 times"),
        (b"\xff\n", "not UTF-8"),
    ],
)
def test_bad_vocabularies(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        vocabulary.load(path)
    with pytest.raises(DataError, match="is missing"):
        vocabulary.load(tmp_path / "none.txt")


@settings(deadline=None, max_examples=150)
@given(st.lists(st.text(ALPHABET, max_size=40), min_size=1, max_size=4))
def test_tokenizer_equals_bert(trained, texts):
    check_equal(trained, texts)


def test_special_tokens_and_long_words_in_text(trained):
    check_equal(trained, ["a [MASK] b [SEP]", "[CLS]", "x" * 101, "[ MASK ]", "[mask]", ""])


@pytest.mark.real_data
def test_tokenizer_equals_bert_on_real_text(data_root):
    path = data_root / "vocab" / "bert-base-uncased.txt"
    assert vocabulary.load(path).digest == "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
    reviews = [example["sentence"] for example in read_examples(get_task("glue_sst2_v1"), data_root, "validation")]
    wiki = data_root / "pretrain" / "wikipedia-en" / "AA.wikiextractor.txt.xz"
    sentences = [sentence for document in islice(read_documents(wiki), 3) for sentence in document]
    check_equal(path, reviews + sentences)
    ours, _ = tokenizers_for(path)
    encoding = ours.encode("Hello, it's [MASK]!", add_special_tokens=False)
    assert encoding.ids == [7592, 1010, 2009, 1005, 1055, 103, 999]
