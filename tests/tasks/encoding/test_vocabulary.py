"""WordPiece vocabularies: training and files."""

import bz2
import gzip
import lzma
import os
import subprocess
import sys

import pytest

from tasks.encoding import tokenizer_files, vocabulary
from tasks.system.errors import DataError
from tasks.system.repository import REPOSITORY

TEXTS = [
    "The cats sat on the mats, and the dogs sat on the logs.",
    "A naïve café owner's résumé: 42 pages, 4.2 stars!",
    "unhappily happily unhappy happy happiness unhappiness",
    "東京タワー is tall 😀",
] * 3


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    vocabulary.write(vocabulary.train_wordpiece(TEXTS, 200), path)
    return path


def test_special_tokens_come_first_and_size_is_exact(trained):
    loaded = vocabulary.load(trained)
    assert loaded.size == 200
    assert (loaded.pad_id, loaded.unk_id, loaded.cls_id, loaded.sep_id, loaded.mask_id) == (0, 1, 2, 3, 4)
    tokens = trained.read_text().splitlines()
    assert len(set(tokens)) == 200
    assert tokens[-1].startswith("[unused")


def test_frequent_words_become_tokens(trained):
    ours = vocabulary.tokenizer(trained)
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
from tasks.encoding.vocabulary import train_wordpiece
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
            cwd=REPOSITORY,
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
        (b"[PAD]\r[UNK]\r[CLS]\r[SEP]\r[MASK]\ra\r", "its lines end with a carriage return alone"),
    ],
)
def test_bad_vocabularies(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        vocabulary.load(path)
    with pytest.raises(DataError, match="is missing"):
        vocabulary.load(tmp_path / "none.txt")


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)])
def test_compressed_and_marked_vocabularies_are_the_plain_one(trained, tmp_path, ending, pack):
    expected, content = vocabulary.load(trained), trained.read_bytes()
    (tmp_path / f"vocab.txt{ending}").write_bytes(pack(b"\xef\xbb\xbf" + content))
    (tmp_path / "marked.txt").write_bytes(b"\xef\xbb\xbf" + content)
    for name in (f"vocab.txt{ending}", "vocab.txt", "marked.txt"):
        loaded = vocabulary.load(tmp_path / name)
        assert (loaded.digest, loaded.size, loaded.pad_id) == (expected.digest, expected.size, 0)
        assert vocabulary.plain_content(loaded.path, tokenizer_files.read(loaded.path)) == content
        assert (
            vocabulary.tokenizer(tmp_path / name).encode("the cats").ids
            == vocabulary.tokenizer(trained).encode("the cats").ids
        )
    (tmp_path / f"vocab.txt{ending}").write_bytes(content)
    with pytest.raises(DataError, match=f"vocab.txt{ending}: damaged or wrongly named archive"):
        vocabulary.load(tmp_path / "vocab.txt")


def test_a_folder_with_a_marked_vocabulary(trained, tmp_path):
    (tmp_path / "vocab.txt").write_bytes(b"\xef\xbb\xbf" + trained.read_bytes())
    assert vocabulary.load(tmp_path).digest == vocabulary.load(trained).digest
