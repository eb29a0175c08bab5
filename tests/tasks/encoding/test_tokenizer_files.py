"""Directories of Hugging Face tokenizers against transformers' AutoTokenizer, and what is refused."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.encoding import preprocessors, tokenizer_files, vocabulary
from tasks.encoding.spans import SpanConfig, decode_answers, encode_examples
from tasks.system.errors import DataError
from tests.helpers.tokenizer_directories import KINDS, TEXTS, write_words

PIECES = [
    *("The", "unhappi", "NAÏVE", "É", "é", "e\u0301", "ﬁ", "ß", "İ", "a", "s", " ", "  ", "'s", "...", "-", "\t", "\n"),
    *(
        "\r\n",
        "\x00",
        "\x7f",
        "\u00a0",
        "\u2028",
        "\u3000",
        "\u200d",
        "\ufeff",
        "\ufffd",
        "\u0301",
        "東京",
        "の",
        "한국",
    ),
    *(
        "\U0002f800",
        "😀",
        "👩\u200d👧",
        "👍🏽",
        "\ufe0f",
        "\ue000",
        "नमस्ते",
        "שָׁלוֹם",
        "s" * 101,
        "123456",
        "$%",
        "Ġ",
        "##s",
    ),
    *("[MASK]", "[SEP]", "[CLS]", "[PAD]", "[UNK]", "[unused0]", "<s>", "</s>", "<pad>", "<unk>", "<mask>", " <mask> "),
    *("[mask]", "<MASK>", "[ MASK ]", "madeupword0000"),
]
TEXT = st.lists(st.sampled_from(PIECES) | st.characters(exclude_categories=["Cs"]), max_size=20).map("".join)


@pytest.fixture(scope="session")
def directories(tmp_path_factory):
    """Kind -> form -> directory: lists of tokens, what transformers saves of them, and what we write of them."""
    from transformers import AutoTokenizer

    root = tmp_path_factory.mktemp("tokenizers")
    made = {}
    for kind, make in KINDS.items():
        lists, saved, kept = make(root / kind), root / f"{kind}-saved", root / f"{kind}-kept"
        AutoTokenizer.from_pretrained(lists).save_pretrained(saved)
        kept.mkdir()
        tokenizer_files.write(tokenizer_files.read(lists), kept)
        made[kind] = {"lists": lists, "saved": saved, "kept": kept}
    return made


@functools.lru_cache
def theirs(path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path, use_fast=True)


@functools.lru_cache
def ours(path):
    return vocabulary.load(path), vocabulary.tokenizer(path)


def check_equal(path, texts):
    expected = theirs(path)(texts, add_special_tokens=False, return_offsets_mapping=True)
    found = ours(path)[1].encode_batch(texts, add_special_tokens=False)
    assert [encoding.ids for encoding in found] == expected["input_ids"]
    assert [encoding.offsets for encoding in found] == [[tuple(o) for o in row] for row in expected["offset_mapping"]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["lists", "saved", "kept"])
def test_ids_and_offsets_equal_transformers(directories, kind, form):
    check_equal(directories[kind][form], ["", *PIECES, *TEXTS, *(f"a{piece}b {piece} c" for piece in PIECES)])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_texts_equal_transformers(directories, kind, data):
    form = data.draw(st.sampled_from(["lists", "saved", "kept"]))
    check_equal(directories[kind][form], data.draw(st.lists(TEXT, min_size=1, max_size=3)))


@pytest.mark.parametrize("kind", KINDS)
def test_special_ids_and_size_equal_transformers(directories, kind):
    for path in directories[kind].values():
        read, tokenizer = vocabulary.load(path), theirs(path)
        assert read.size == len(tokenizer)
        for role in ("pad", "unk", "cls", "sep", "mask"):
            assert getattr(read, f"{role}_id") == getattr(tokenizer, f"{role}_token_id")
        assert vocabulary.read_tokens(path) == tokenizer.convert_ids_to_tokens(range(read.size))


@pytest.mark.parametrize("kind", KINDS)
def test_all_forms_of_a_tokenizer_have_one_digest_and_other_tokenizers_another(directories, kind):
    digests = {vocabulary.load(path).digest for path in directories[kind].values()}
    assert len(digests) == 1
    assert not any(vocabulary.load(directories[other]["lists"]).digest in digests for other in KINDS if other != kind)


def test_a_directory_of_uncased_bert_is_its_vocabulary_file(directories, tmp_path):
    folder = directories["uncased"]["saved"]
    words = directories["uncased"]["lists"] / "vocab.txt"
    assert vocabulary.load(folder).digest == vocabulary.load(words).digest
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(words, alone)
    assert vocabulary.load(alone).digest == vocabulary.load(words).digest


@pytest.mark.parametrize("kind", KINDS)
def test_random_replacements_come_from_the_tokens_of_texts(directories, kind):
    read = vocabulary.load(directories[kind]["lists"])
    tokens = vocabulary.read_tokens(read.path)
    drawn = {tokens[number] for start, end in read.text_ranges for number in range(start, end)}
    never = {name for name in tokens if name in {"<s>", "</s>", "<pad>", "<unk>", "<mask>", "madeupword0000"}}
    never |= {token for token in tokens if token[0] == "[" and token[-1] == "]" and len(token) > 2}
    assert drawn == set(tokens) - never
    assert list(read.text_ranges) == sorted(read.text_ranges)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4))
def test_rows_and_pairs_equal_transformers(directories, kind, pairs):
    path = directories[kind]["saved"]
    read, tokenizer = ours(path)
    length = 1500
    for second in (None, [b for _, b in pairs]):
        first = [a for a, _ in pairs]
        rows = preprocessors.encode_rows(tokenizer, read, first, second, length)
        expected = theirs(path)(
            first, second, padding="max_length", max_length=length, truncation=True, return_token_type_ids=True
        )
        assert rows["input_ids"].tolist() == expected["input_ids"]
        if read.second_type_id == 0:
            assert not rows["token_type_ids"].any()
        else:
            assert rows["token_type_ids"].tolist() == expected["token_type_ids"]


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_pairs_fill_the_row(directories, kind):
    read, tokenizer = ours(directories[kind]["kept"])
    rows = preprocessors.encode_rows(tokenizer, read, ["happy " * 9], ["the cats sat " * 9], 20)["input_ids"][
        0
    ].tolist()
    assert read.pad_id not in rows
    assert rows[0] == read.cls_id and rows[-1] == read.sep_id
    assert rows.count(read.sep_id) == 1 + read.pair_separators


ANSWERS = [
    ("Who sat? 😀", "The cats sat on the mats, and the Dogs sat.", "cats"),
    ("Qui?", "A naïve Café owner's résumé: 42 pages", "Café"),
    ("Was?", "Unhappy 東京 is   tall\n😀 and happy", "😀"),
    ("Where?", "It is\u00a0in the  cafe\u0301 there.", "cafe\u0301"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stride", [3, 16])
def test_answers_come_back_from_the_original_text(directories, kind, stride):
    """Windows hold the tokens that transformers gives, and perfect logits give back the characters of the answer."""
    path = directories[kind]["saved"]
    read, tokenizer = ours(path)
    examples = [
        {
            "idx": n,
            "id": str(n),
            "question": question,
            "context": context,
            "answer_start": context.index(answer),
            "answer_end": context.index(answer) + len(answer),
        }
        for n, (question, context, answer) in enumerate(ANSWERS)
    ]
    rows = encode_examples(tokenizer, read, examples, SpanConfig(length=28, stride=stride, max_query_length=8))
    logits = np.zeros((*rows["input_ids"].shape, 2))
    number = np.arange(len(logits))
    held = rows["start_position"] > 0
    for column, name in enumerate(("start_position", "end_position")):
        logits[number[held], rows[name][held], column] = 10.0
    found = decode_answers(logits, rows, examples)
    assert [found[str(n)]["text"].strip() for n in range(len(ANSWERS))] == [answer for *_, answer in ANSWERS]
    whole = encode_examples(tokenizer, read, examples, SpanConfig(length=400, stride=100, max_query_length=200))
    questions, contexts = ([example[name] for example in examples] for name in ("question", "context"))
    expected = theirs(path)(questions, contexts, padding="max_length", max_length=400, return_token_type_ids=True)
    assert whole["input_ids"].tolist() == expected["input_ids"]
    if read.second_type_id:
        assert whole["token_type_ids"].tolist() == expected["token_type_ids"]


def test_a_question_that_leaves_no_room_is_refused(directories):
    example = {"idx": 0, "question": "who sat", "context": "cats", "answer_start": -1, "answer_end": -1}
    for kind, room in (("uncased", 9), ("roberta", 8)):
        read, tokenizer = ours(directories[kind]["lists"])
        encode_examples(tokenizer, read, [example], SpanConfig(length=12, stride=4, max_query_length=room - 1))
        with pytest.raises(
            DataError, match=f"max_query_length is {room}; less than span_length - {12 - room} = {room}"
        ):
            encode_examples(tokenizer, read, [example], SpanConfig(length=12, stride=4, max_query_length=room))


def change(path: Path, **values: object) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | values), encoding="utf-8")


def deep(path: Path, *members: object, value: object) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    inner = content
    for member in members[:-1]:
        inner = inner[member]
    inner[members[-1]] = value
    path.write_text(json.dumps(content), encoding="utf-8")


TRUNCATION = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
CONTRADICTIONS = {
    "lower case": (
        lambda d: change(d / "tokenizer_config.json", do_lower_case=True),
        r"do_lower_case is true, in tokenizer\.json false",
    ),
    "accents": (
        lambda d: change(d / "tokenizer_config.json", strip_accents=True),
        r"strip_accents is true, in tokenizer\.json false",
    ),
    "not a flag": (
        lambda d: change(d / "tokenizer_config.json", do_lower_case="no"),
        "do_lower_case is 'no'; true, false or null is expected",
    ),
    "class": (
        lambda d: change(d / "tokenizer_config.json", tokenizer_class="BertJapaneseTokenizer"),
        "tokenizer_class is 'BertJapaneseTokenizer'; BertTokenizer, .* are expected",
    ),
    "vocabulary": (
        lambda d: vocabulary.write(["[PAD]", "x"], d / "vocab.txt"),
        r"vocab\.txt: token 1 is 'x', in tokenizer\.json '\[unused1\]'; remove the file that is wrong",
    ),
    "role": (
        lambda d: (d / "special_tokens_map.json").write_text('{"mask_token": "[SEP]"}'),
        r"mask_token is '\[SEP\]', in tokenizer_config\.json '\[MASK\]'; they must agree",
    ),
    "stated role": (
        lambda d: change(d / "tokenizer_config.json", cls_token="[MASK]", mask_token="[CLS]"),
        r"cls_token is '\[MASK\]', in tokenizer\.json '\[CLS\]'; they must agree",
    ),
    "no token": (
        lambda d: change(d / "tokenizer_config.json", mask_token="<mask>"),
        r"no <mask>, its mask_token; the name of a token in the vocabulary is expected",
    ),
    "added id": (
        lambda d: (d / "added_tokens.json").write_text('{"Unhappy": 3}'),
        r"the id of 'Unhappy' is 3, in the vocabulary \d+; they must agree",
    ),
    "model": (
        lambda d: deep(d / "tokenizer.json", "model", "type", value="Unigram"),
        "model.type is 'Unigram'; 'WordPiece' is expected",
    ),
    "normalizer": (
        lambda d: deep(d / "tokenizer.json", "normalizer", value={"type": "NFC"}),
        "normalizer and pre_tokenizer is NFC and BertPreTokenizer; BertNormalizer and BertPreTokenizer is expected",
    ),
    "hole": (
        lambda d: deep(d / "tokenizer.json", "model", "vocab", "[PAD]", value=900),
        r"tokenizer\.json: id of '.*' is 1; ids from 0 to \d+, each once, are expected",
    ),
    "padding on the left": (
        lambda d: change(d / "tokenizer_config.json", padding_side="left"),
        r"tokenizer_config\.json: padding_side is 'left'; 'right' is expected",
    ),
    "truncation on the left": (
        lambda d: change(d / "tokenizer_config.json", truncation_side="left"),
        r"tokenizer_config\.json: truncation_side is 'left'; 'right' is expected",
    ),
    "truncation on the left, stated elsewhere": (
        lambda d: deep(d / "tokenizer.json", "truncation", value={**TRUNCATION, "direction": "Left"}),
        r"tokenizer\.json: truncation\.direction is 'Left'; 'right' is expected",
    ),
    "no JSON": (lambda d: (d / "tokenizer.json").write_text("{"), r"tokenizer\.json: is no JSON"),
    "no object": (lambda d: (d / "tokenizer.json").write_text("[]"), r"tokenizer\.json: a JSON object is expected"),
    "no tokenizer": (lambda d: (d / "tokenizer.json").write_text("{}"), r"tokenizer\.json: is no file of tokenizers"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_what_changes_ids_is_refused_in_one_line(directories, tmp_path, name):
    break_it, message = CONTRADICTIONS[name]
    folder = shutil.copytree(directories["cased"]["kept"], tmp_path / "cased")
    if name != "role":
        (folder / "special_tokens_map.json").unlink()
    vocabulary.load(folder)
    break_it(folder)
    with pytest.raises(DataError, match=message) as caught:
        vocabulary.load(folder)
    assert "\n" not in str(caught.value)


def test_sides_are_those_that_transformers_takes(directories, tmp_path):
    """What is refused would be other rows there, and what is read the same ones."""
    from transformers import AutoTokenizer

    def rows(name, in_config, in_file):
        folder = shutil.copytree(directories["cased"]["kept"], tmp_path / name)
        deep(folder / "tokenizer.json", "truncation", value={**TRUNCATION, "direction": in_file})
        change(folder / "tokenizer_config.json", **({"truncation_side": in_config} if in_config else {}))
        texts = ["The cats sat on the mats", "The"]
        found = AutoTokenizer.from_pretrained(folder)(texts, truncation=True, padding="max_length", max_length=6)
        read = vocabulary.load(folder)
        return found["input_ids"], preprocessors.encode_rows(vocabulary.tokenizer(folder), read, texts, None, 6)

    for name, in_config, in_file in (("one", None, "Right"), ("two", "right", "Left"), ("three", "right", "Right")):
        theirs, ours = rows(name, in_config, in_file)
        assert ours["input_ids"].tolist() == theirs
    for name, in_config, in_file in (("four", "left", "Right"), ("five", None, "Left")):
        with pytest.raises(DataError, match="'right' is expected"):
            rows(name, in_config, in_file)
        assert AutoTokenizer.from_pretrained(tmp_path / name).truncation_side == "left"


JSON_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json")
VALUES = st.none() | st.booleans() | st.integers(-2, 400) | st.sampled_from(["", "<s>", "BPE", [], [[]], {}, {"a": {}}])


@pytest.mark.parametrize("kind", ["cased", "roberta"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_changed_member_is_read_or_refused(directories, kind, tmp_path_factory, data):
    """No damage of a file ends in anything but a `DataError`."""
    folder = shutil.copytree(directories[kind]["kept"], tmp_path_factory.mktemp("changed") / "copy")
    name = data.draw(st.sampled_from([file for file in JSON_FILES if (folder / file).exists()]))
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    inner = content
    while True:
        places = sorted(inner) if isinstance(inner, dict) else range(len(inner))
        place = data.draw(st.sampled_from(list(places)))
        if isinstance(inner[place], (dict, list)) and inner[place] and data.draw(st.booleans()):
            inner = inner[place]
        else:
            break
    inner[place] = data.draw(VALUES)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    try:
        vocabulary.tokenizer(folder).encode("A <s> b")
    except DataError as error:
        assert "\n" not in str(error)
    shutil.rmtree(folder)


def test_bad_byte_level_files_are_refused(directories, tmp_path):
    folder = shutil.copytree(directories["roberta"]["lists"], tmp_path / "roberta")
    (folder / "merges.txt").write_text("#version: 0.2\na b c\n")
    with pytest.raises(DataError, match=r"merges\.txt: merge 0 is 'a b c'; two tokens are expected"):
        vocabulary.load(folder)
    (folder / "merges.txt").unlink()
    with pytest.raises(DataError, match=r"merges\.txt is missing"):
        vocabulary.load(folder)
    (folder / "merges.txt").write_text("")
    ids = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    kept = {token: place for place, token in enumerate(t for t in ids if t not in ("é", "Ċ"))}
    (folder / "vocab.json").write_text(json.dumps(kept))
    with pytest.raises(DataError, match="2 of 256 bytes have no token; all are expected"):
        vocabulary.load(folder)
    with pytest.raises(DataError, match=r"no tokenizer\.json, vocab\.txt or vocab\.json"):
        vocabulary.load(tmp_path)


def test_tokens_that_a_user_added_are_kept(tmp_path):
    """A word and a special token behind the vocabulary, as `add_tokens` and `save_pretrained` write them."""
    from transformers import AutoTokenizer

    base = write_words(
        tmp_path / "base",
        [*vocabulary.SPECIAL_TOKENS, "a", "b", "##b", "C"],
        tokenizer_class="BertTokenizer",
        do_lower_case=False,
    )
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["Cab"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["[E1]"]})
    tokenizer.save_pretrained(tmp_path / "saved")
    (tmp_path / "kept").mkdir()
    tokenizer_files.write(tokenizer_files.read(tmp_path / "saved"), tmp_path / "kept")
    for form in ("saved", "kept"):
        check_equal(tmp_path / form, ["aCab C[E1]ab", "[e1] Cabb", "cab CAB"])
        read = vocabulary.load(tmp_path / form)
        assert (read.size, read.text_ranges) == (11, ((5, 10),))


def test_the_defaults_of_a_config_are_those_of_transformers(tmp_path):
    """A config without settings is lower-cased; `model_type` decides where no class is named."""
    tokens = ["<s>", "<pad>", "</s>", "[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "a", "É", "e", "<mask>"]
    for kind in ("bert", "mpnet"):
        folder = write_words(tmp_path / kind, tokens)
        (folder / "config.json").write_text(json.dumps({"model_type": kind}))
        check_equal(folder, ["É a A <mask> [MASK]", "é\u0301"])
        assert vocabulary.load(folder).cls_id == theirs(folder).cls_token_id
