"""Answers from logits over any text, against an enumeration of all spans of all windows written after BERT's rules."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.catalogue import get_task
from tasks.encoding import spans, vocabulary
from tasks.files.readers import read_examples
from tasks.scoring import metrics

LETTERS = "abcdefghijklmnopqrstuvwxyz"
PIECES = [*LETTERS, *(f"##{letter}" for letter in LETTERS), *"0123456789.,-'", "中", "文", "the", "cat", "##th"]
# Accents composed and decomposed, lone marks, punctuation of ASCII and beyond, CJK, Hangul, emoji with joiners,
# modifiers and selectors, spaces of several widths, characters without any width, a special token written out.
CHARACTERS = st.sampled_from(
    [*"aeioubct", *"ÉñüßŁİ", "e\u0301", "o\u0302\u0323", "\u0301", "\u0489", *".,-'«»—…", *"中文", "한", "の"]
    + ["😀", "👩\u200d👧", "👍🏽", "❤\ufe0f", "1\ufe0f\u20e3", " ", "  ", "\u00a0", "\u3000", "\t", "\n"]
    + ["\u200b", "\u00ad", "\ufeff", "\x00", "\ufffd", "[MASK]", "the cat ", "ﬁ"]
)
TEXTS = st.lists(CHARACTERS, max_size=45).map("".join)
CONFIG = spans.SpanConfig(length=16, stride=5, max_query_length=4)


@pytest.fixture(scope="session")
def words(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    vocabulary.write([*vocabulary.SPECIAL_TOKENS, *PIECES], path)
    return vocabulary.load(path), vocabulary.tokenizer(path)


def make(number, context, question="the cat?"):
    return {
        "idx": number,
        "id": f"q{number}",
        "question": question,
        "context": context,
        "answer_start": -1,
        "answer_end": -1,
    }


def rank(values, position):
    """Counts the positions before this one when the highest value comes first and ties keep their order."""
    return sum(v > values[position] or (v == values[position] and i < position) for i, v in enumerate(values))


def enumerated(start_logits, end_logits, rows, number, context, n_best, max_length, null_threshold):
    """Finds the answer and the n-best list of one question by a look at every span of every window."""
    found, null = [], math.inf
    for row in np.flatnonzero(rows["example_index"] == number):
        starts, ends = start_logits[row].tolist(), end_logits[row].tolist()
        null = min(null, starts[0] + ends[0])
        for first in range(len(starts)):
            for last in range(first, min(first + max_length, len(starts))):
                start_rank, end_rank = rank(starts, first), rank(ends, last)
                if start_rank >= n_best or end_rank >= n_best:
                    continue
                begin, end = rows["offsets"][row, first, 0], rows["offsets"][row, last, 1]
                if begin < 0 or end < 0 or not rows["is_max_context"][row, first]:
                    continue
                order = (-(starts[first] + ends[last]), 0, row, start_rank, end_rank)
                found.append((order, context[begin:end], starts[first] + ends[last]))
    best = min(found) if found else None
    text, score = (best[1], best[2]) if best else ("", -math.inf)
    if null_threshold is not None and null - score > null_threshold:
        text = ""
    if null_threshold is not None:
        found.append(((-null, 1), "", null))
    listed = {}
    for _, candidate, value in sorted(found, key=lambda entry: entry[0]):
        if len(listed) < n_best:
            listed.setdefault(candidate, value)
    if null_threshold is not None:
        listed.setdefault("", null)
    total = sum(math.exp(value) for value in listed.values())
    nbest = [(text, value, math.exp(value) / total, text == "") for text, value in listed.items()]
    return text, score, null, nbest


@settings(max_examples=150)
@given(
    contexts=st.lists(TEXTS, min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
    n_best=st.integers(1, 20),
    max_length=st.integers(1, 8),
    ties=st.booleans(),
    threshold=st.none() | st.sampled_from([0.0, -1.0, 1.5, math.inf, -math.inf]),
)
def test_answers_equal_an_enumeration_of_all_spans(words, contexts, seed, n_best, max_length, ties, threshold):
    loaded, tokenizer = words
    examples = [make(number, context) for number, context in enumerate(contexts)]
    rows = spans.encode_examples(tokenizer, loaded, examples, CONFIG)
    start, end = np.random.default_rng(seed).normal(size=(2, *rows["input_ids"].shape), scale=2).astype(np.float32)
    if ties:
        start, end = start.round(), end.round()
    logits = np.stack([start, end], axis=-1)
    answers = spans.decode_answers(logits, rows, examples, n_best, max_length, threshold, with_nbest=True)
    plain = spans.decode_answers(logits, rows, examples, n_best, max_length, threshold)
    for number, example in enumerate(examples):
        found = answers[example["id"]]
        expected = enumerated(start, end, rows, number, example["context"], n_best, max_length, threshold)
        assert (found["text"], found["score"], found["null_score"]) == expected[:3]
        listed = [tuple(entry[key] for key in ("text", "score", "probability", "null")) for entry in found["nbest"]]
        assert [(text, score, null) for text, score, _, null in listed] == [(t, s, n) for t, s, _, n in expected[3]]
        assert [entry[2] for entry in listed] == pytest.approx([entry[2] for entry in expected[3]], abs=1e-12)
        assert plain[example["id"]] == {key: value for key, value in found.items() if key != "nbest"}


@settings(max_examples=200)
@given(TEXTS.filter(lambda text: text.strip("\x00\u200b\u00ad\ufeff\ufffd\u0301 \u00a0\u3000\t\n")), st.data())
def test_right_logits_give_any_answer_between_token_borders_back(words, context, data):
    loaded, tokenizer = words
    offsets = spans.with_dropped_marks(
        context, np.array(tokenizer.encode(context, add_special_tokens=False).offsets).reshape(-1, 2)
    )
    if not len(offsets):
        return
    # Answers of up to 4 tokens fit the window in which their start has its maximum context.
    first = data.draw(st.integers(0, len(offsets) - 1))
    last = data.draw(st.integers(first, min(first + 3, len(offsets) - 1)))
    begin, end = offsets[first, 0], offsets[last, 1]
    example = make(0, context) | {"answer_start": int(begin), "answer_end": int(end)}
    rows = spans.encode_examples(tokenizer, loaded, [example], CONFIG)
    assert (rows["start_position"] > 0).any()
    answer = spans.decode_answers(perfect_logits(rows), rows, [example])["q0"]
    assert answer["text"] == context[begin:end]


def perfect_logits(rows):
    """Logits that are high at the labels of each window, [CLS] where a window does not hold the answer."""
    logits = np.zeros((*rows["input_ids"].shape, 2), np.float32)
    logits[np.arange(len(logits)), rows["start_position"], 0] = 5
    logits[np.arange(len(logits)), rows["end_position"], 1] = 5
    return logits


@pytest.mark.parametrize(
    "answer",
    ["cafe\u0301", "❤\ufe0f", "o\u0302\u0323", "1\ufe0f\u20e3", "👩\u200d👧", "中", "文", "한", "ß", "«ab»", "—", "İ"],
)
def test_answers_keep_what_the_tokenizer_drops_behind_a_letter(words, answer):
    loaded, tokenizer = words
    context = f"the cat {answer} the"
    example = make(0, context) | {"answer_start": 8, "answer_end": 8 + len(answer)}
    rows = spans.encode_examples(tokenizer, loaded, [example], CONFIG)
    assert spans.decode_answers(perfect_logits(rows), rows, [example])["q0"]["text"] == answer


@given(TEXTS)
def test_only_marks_are_added_to_tokens(words, text):
    _, tokenizer = words
    plain = np.array(tokenizer.encode(text, add_special_tokens=False).offsets).reshape(-1, 2)
    found = spans.with_dropped_marks(text, plain)
    assert found[:, 0].tolist() == plain[:, 0].tolist()
    inside = {position for start, end in plain for position in range(start, end)}
    for (_, plain_end), (_, end) in zip(plain, found, strict=True):
        assert all(character in "\u0301\u0302\u0323\ufe0f" for character in text[plain_end:end])
        assert inside.isdisjoint(range(plain_end, end))
        assert end == len(text) or end in inside or text[end] not in "\u0301\u0302\u0323\ufe0f"


def test_nbest_by_hand(words):
    loaded, tokenizer = words
    context = "a b a"
    examples = [make(0, context, "?")]
    rows = spans.encode_examples(tokenizer, loaded, examples, CONFIG)
    start, end = np.full((2, 1, 16), -9.0)
    # Tokens: [CLS] ? [SEP] a b a [SEP]. The second a is worth less than the first and is not listed again.
    start[0, [0, 3, 4, 5]] = end[0, [0, 3, 4, 5]] = [0.5, 2.0, 1.0, 1.5]
    logits = np.stack([start, end], axis=-1)
    answer = spans.decode_answers(logits, rows, examples, max_answer_length=1, null_threshold=0, with_nbest=True)
    nbest = answer["q0"]["nbest"]
    assert [(entry["text"], entry["score"]) for entry in nbest] == [("a", 4.0), ("b", 2.0), ("", 1.0)]
    assert [entry["null"] for entry in nbest] == [False, False, True]
    total = math.exp(4) + math.exp(2) + math.exp(1)
    assert nbest[0]["probability"] == pytest.approx(math.exp(4) / total)
    short = spans.decode_answers(
        logits, rows, examples, n_best=2, max_answer_length=1, null_threshold=0, with_nbest=True
    )
    # As in BERT, the empty answer is added to a full list too.
    assert [entry["text"] for entry in short["q0"]["nbest"]] == ["a", ""]


@pytest.mark.real_data
def test_every_real_answer_on_token_borders_comes_back(data_root):
    """All answers to the development questions of SQuAD v1.1; lost are parts of a token only, such as 8 of 18."""
    loaded = vocabulary.load(data_root / "vocab" / "bert-base-uncased.txt")
    tokenizer = vocabulary.tokenizer(loaded)
    questions = list(read_examples(get_task("squad_v1_1_v1"), data_root, "validation"))
    answers = dict.fromkeys((n, a["answer_start"], a["text"]) for n, q in enumerate(questions) for a in q["answers"])
    examples = [
        questions[number] | {"idx": row, "id": row, "answer_start": start, "answer_end": start + len(text)}
        for row, (number, start, text) in enumerate(answers)
    ]
    config = spans.SpanConfig(length=384, stride=128, max_query_length=64)
    rows = spans.encode_examples(tokenizer, loaded, examples, config)
    found = spans.decode_answers(perfect_logits(rows), rows, examples, max_answer_length=64)
    borders = {}
    for context in dict.fromkeys(question["context"] for question in questions):
        offsets = tokenizer.encode(context, add_special_tokens=False).offsets
        borders[context] = {start for start, _ in offsets}, {end for _, end in offsets}
    inside = 0
    first_answers = {}
    for example, (number, start, text) in zip(examples, answers, strict=True):
        starts, ends = borders[example["context"]]
        answer = found[str(example["id"])]["text"]
        first_answers.setdefault(questions[number]["id"], answer)
        if start in starts and start + len(text) in ends:
            assert answer == text
        else:
            inside += 1
            assert text in answer
    assert (len(questions), len(answers), inside) == (10_570, 18_015, 56)
    scores = metrics.per_example_scores("squad_v1_1_v1", first_answers, questions)
    assert np.count_nonzero(scores["exact_match"] == 0) == 18
    assert scores["f1"].mean() > 0.998
