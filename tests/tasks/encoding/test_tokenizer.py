"""Tokenisation against transformers: its BERT tokenizer offset by offset, and its slow one, which is all Python."""

import functools
import unicodedata
from itertools import islice

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.catalogue import get_task
from tasks.encoding import vocabulary
from tasks.files.readers import read_examples
from tests.helpers.documents import read_documents

TRAINING_TEXTS = [
    "The cats sat on the mats, and the dogs sat on the logs.",
    "A naïve café owner's résumé: 42 pages, 4.2 stars!",
    "unhappily happily unhappy happy happiness unhappiness",
    "東京タワー is tall 😀",
] * 3
# Known and unknown words, words at the limit of 100 characters, special tokens whole and broken, white space of all
# kinds, characters without width, lone marks, CJK of three blocks, astral planes, noncharacters, private use.
PIECES = [
    *"abcdehinst",
    " ",
    "The",
    "unhappi",
    "NAÏVE",
    "É",
    "e\u0301",
    "ﬁ",
    "ß",
    "İ",
    "ſ",
    "Ǆ",
    "½",
    "'",
    '"',
    "-",
    "…",
]
PIECES += [
    ".",
    "£",
    "$",
    "`",
    "^",
    "|",
    "~",
    "s" * 100,
    "s" * 101,
    "š" * 100,
    "s\u0301" * 100,
    "[MASK]",
    "[SEP]",
    "[CLS]",
]
PIECES += [
    "[PAD]",
    "[UNK]",
    "[mask]",
    "[ MASK ]",
    "[MASK",
    "##s",
    "[unused1]",
    "\t",
    "\n",
    "\r",
    "\x00",
    "\x7f",
    "\x85",
]
PIECES += ["\u00a0", "\u2028", "\u2029", "\u3000", "\u200b", "\u200d", "\u2060", "\ufeff", "\ufffd", "\u00ad", "\u0301"]
PIECES += [
    "\u0345",
    "\u20e3",
    "\ufe0f",
    "東京",
    "の",
    "한국",
    "\uf900",
    "\U00020000",
    "\U0002f800",
    "😀",
    "👩\u200d👧",
    "👍🏽",
]
PIECES += ["\U0001d400", "\U000e0041", "\U0010fffd", "\ufdd0", "\U0001ffff", "\ue000", "\u202e", "नमस्ते", "สวัสดี", "שָׁלוֹם"]
TEXTS = st.lists(st.sampled_from(PIECES) | st.characters(exclude_categories=["Cs"]), max_size=30).map("".join)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    vocabulary.write(vocabulary.train_wordpiece(TRAINING_TEXTS, 200), path)
    return path


@pytest.fixture(scope="session")
def real(data_root):
    return data_root / "vocab" / "bert-base-uncased.txt"


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


@settings(max_examples=300)
@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_tokenizer_equals_transformers(trained, texts):
    check_equal(trained, texts)


@pytest.mark.real_data
@settings(max_examples=300)
@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_tokenizer_equals_transformers_with_the_real_vocabulary(real, texts):
    check_equal(real, texts)


def characters():
    """Lists every assigned character of Unicode that text can hold."""
    return [c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cn", "Co", "Cs")]


def test_every_character_of_unicode(trained):
    everything = characters()
    assert len(everything) > 140_000
    # Inside a word and alone; many in a text, because every text costs time.
    lines = [everything[start : start + 500] for start in range(0, len(everything), 500)]
    check_equal(trained, ["".join(f"a{c}b {c} " for c in line) for line in lines])


def test_every_piece_by_itself(trained):
    check_equal(trained, ["", *PIECES])


@functools.lru_cache
def slow_tokenizer(path):
    from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

    return BertTokenizerLegacy(str(path))


def check_equal_to_slow(path, texts):
    ours, _ = tokenizers_for(path)
    found = ours.encode_batch(texts, add_special_tokens=False)
    slow = slow_tokenizer(path)
    for text, encoding in zip(texts, found, strict=True):
        assert encoding.tokens == slow.tokenize(text), text


def is_old(character):
    """Returns True where the category is that of Unicode 3.2: the fast library's tables are older than Python's."""
    category = unicodedata.category(character)
    return category not in ("Cn", "Cs") and unicodedata.ucd_3_2_0.category(character) == category


# Python lower-cases a sigma at the end of a word to a final one, the fast library does not look at neighbours.
OLD_PIECES = [piece for piece in PIECES if all(map(is_old, piece))]
OLD_TEXTS = st.lists(
    st.sampled_from(OLD_PIECES) | st.characters(exclude_categories=["Cs", "Cn"], exclude_characters="Σ").filter(is_old),
    max_size=30,
).map("".join)


@settings(max_examples=200)
@given(OLD_TEXTS)
@example("[MASK]a[SEP] b")
def test_tokenizer_equals_the_slow_one(trained, text):
    check_equal_to_slow(trained, [text])


@pytest.mark.real_data
@settings(max_examples=200)
@given(OLD_TEXTS)
def test_tokenizer_equals_the_slow_one_with_the_real_vocabulary(real, text):
    check_equal_to_slow(real, [text])


def test_old_characters_equal_the_slow_one(trained):
    old = [character for character in characters() if is_old(character)]
    assert len(old) > 80_000
    # Ideographs and Hangul syllables are alike: some of them will do.
    chosen = [c for c in old if unicodedata.category(c) != "Lo"] + [c for c in old if unicodedata.category(c) == "Lo"][
        ::20
    ]
    check_equal_to_slow(trained, [f"a{c}b {c}" for c in chosen])


@pytest.mark.real_data
def test_ten_thousand_real_sentences(data_root, real):
    assert vocabulary.load(real).digest == "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
    reviews = [e["sentence"] for e in islice(read_examples(get_task("glue_sst2_v1"), data_root, "train"), 4000)]
    questions = read_examples(get_task("squad_v1_1_v1"), data_root, "validation")
    contexts = list(dict.fromkeys(question["context"] for question in questions))
    wiki = data_root / "pretrain" / "wikipedia-en" / "AA.wikiextractor.txt.xz"
    sentences = list(islice((s for document in read_documents(wiki) for s in document), 4000))
    texts = reviews + contexts + sentences
    assert len(texts) > 10_000
    check_equal(real, texts)
    check_equal_to_slow(real, texts[::20])
    ours, _ = tokenizers_for(real)
    encoding = ours.encode("Hello, it's [MASK]!", add_special_tokens=False)
    assert encoding.ids == [7592, 1010, 2009, 1005, 1055, 103, 999]
