"""Windows over contexts and answers from logits, against plain loops written after BERT's description."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.encoding import spans, vocabulary

WORDS = ["who", "sat", "the", "cat", "on", "a", "mat", "##s", ".", "?", "cafe"]
CONTEXT = "The cats sat on a mat. A café-cat sat on the mats."
CONFIG = spans.SpanConfig(length=14, stride=4, max_query_length=3)


@pytest.fixture(scope="session")
def words(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    vocabulary.write([*vocabulary.SPECIAL_TOKENS, *WORDS, "-"], path)
    return vocabulary.load(path), vocabulary.tokenizer(path)


def make(index, answer="", context=CONTEXT, question="Who sat on the mats?"):
    start = context.index(answer) if answer else -1
    return {
        "idx": index,
        "id": f"q{index}",
        "question": question,
        "context": context,
        "answer_start": start,
        "answer_end": start + len(answer) if answer else -1,
    }


@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 25))
def test_windows_cover_everything(num_tokens, room, stride):
    bounds = spans.window_bounds(num_tokens, room, stride)
    covered = {token for start, end in bounds for token in range(start, end)}
    assert covered == set(range(num_tokens))
    assert all(end - start <= room for start, end in bounds)
    assert bounds[-1][1] == num_tokens
    assert all(later[0] - earlier[0] == min(room, stride) for earlier, later in zip(bounds, bounds[1:], strict=False))


# In the last one the second window has one token more around some tokens, and the third is 116 tokens shorter.
@example(390, 250, 128)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 20))
def test_max_context_equals_berts_loop(num_tokens, room, stride):
    bounds = spans.window_bounds(num_tokens, room, stride)
    found = spans.max_context(bounds, num_tokens)
    for token in range(num_tokens):
        best_score, best = None, None
        for window, (start, end) in enumerate(bounds):
            if start <= token < end:
                score = min(token - start, end - 1 - token) + 0.01 * (end - start)
                if best_score is None or score > best_score:
                    best_score, best = score, window
        assert found[token] == best


@settings(max_examples=60)
@given(
    # transformers takes an empty second text for none.
    context=st.text(st.sampled_from("the cats sat on a mat. é\u0301?東京😀\u200b\n"), min_size=1, max_size=60),
    question=st.sampled_from(["who sat?", "cats", "?", "sat on the mats"]),
    length=st.integers(9, 16),
    overlap=st.integers(0, 3),
)
def test_windows_equal_those_of_transformers(words, context, question, length, overlap):
    loaded, tokenizer = words
    from transformers import BertTokenizerFast

    query = len(tokenizer.encode(question, add_special_tokens=False).ids)
    room = length - query - 3
    overlap = min(overlap, room - 1)
    theirs = BertTokenizerFast(vocab=str(loaded.path))(
        question,
        context,
        truncation="only_second",
        max_length=length,
        stride=overlap,
        padding="max_length",
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    config = spans.SpanConfig(length=length, stride=room - overlap, max_query_length=query)
    ours = spans.encode_examples(tokenizer, loaded, [make(0, context=context, question=question)], config)
    assert ours["input_ids"].tolist() == theirs["input_ids"]
    assert ours["token_type_ids"].tolist() == theirs["token_type_ids"]
    for row, offsets in enumerate(theirs["offset_mapping"]):
        in_context = [number == 1 for number in theirs.sequence_ids(row)]
        assert (ours["offsets"][row, :, 0] >= 0).tolist() == in_context
        expected, found = np.array(offsets)[in_context], ours["offsets"][row][in_context]
        assert found[:, 0].tolist() == expected[:, 0].tolist()
        for (_, end), (_, our_end) in zip(expected, found, strict=True):
            assert set(context[end:our_end]) <= {"\u0301"}


def test_rows_of_one_example(words):
    loaded, tokenizer = words
    rows = spans.encode_examples(tokenizer, loaded, [make(7, "cats")], CONFIG)
    tokens = [*vocabulary.SPECIAL_TOKENS, *WORDS, "-"]
    first = [tokens[index] for index in rows["input_ids"][0]]
    assert first[:6] == ["[CLS]", "who", "sat", "on", "[SEP]", "the"]
    assert first[-1] == "[SEP]"
    assert rows["token_type_ids"][0].tolist() == [0] * 5 + [1] * 9
    assert (rows["start_position"][0], rows["end_position"][0]) == (6, 7)
    assert set(rows["example_index"]) == {7}
    assert rows["offsets"][0, :5].tolist() == [[-1, -1]] * 5
    assert rows["offsets"].shape == (*rows["input_ids"].shape, 2)


@pytest.mark.parametrize("answer", ["cats", "cat", "The cats sat", "café", "mats.", "on a mat", "at", "."])
def test_labels_point_at_the_answer_wherever_it_fits(words, answer):
    loaded, tokenizer = words
    rows = spans.encode_examples(tokenizer, loaded, [make(0, answer)], CONFIG)
    start = CONTEXT.index(answer)
    for row in range(len(rows["input_ids"])):
        offsets, first, last = rows["offsets"][row], rows["start_position"][row], rows["end_position"][row]
        if first:
            assert offsets[first, 0] <= start < offsets[first, 1]
            assert offsets[last, 0] < start + len(answer) <= offsets[last, 1]
        else:
            assert last == 0
            inside = offsets[offsets[:, 0] >= 0]
            assert not (inside[0, 0] <= start and start + len(answer) <= inside[-1, 1])
    assert (rows["start_position"] > 0).any()


def test_every_context_token_is_max_context_in_one_window(words):
    loaded, tokenizer = words
    rows = spans.encode_examples(tokenizer, loaded, [make(0)], CONFIG)
    chosen = rows["offsets"][rows["is_max_context"] > 0]
    every = np.array(tokenizer.encode(CONTEXT, add_special_tokens=False).offsets)
    assert sorted(map(tuple, chosen)) == sorted(map(tuple, every))


def test_empty_context(words):
    loaded, tokenizer = words
    rows = spans.encode_examples(tokenizer, loaded, [make(0, context=" ")], CONFIG)
    assert len(rows["input_ids"]) == 1
    answers = spans.decode_answers(np.zeros((1, 14, 2)), rows, [make(0, context=" ")])
    assert answers["q0"]["text"] == ""


def test_right_logits_give_the_answer_back(words):
    loaded, tokenizer = words
    examples = [make(0, "cats"), make(1, "café")]
    rows = spans.encode_examples(tokenizer, loaded, examples, CONFIG)
    logits = np.zeros((*rows["input_ids"].shape, 2))
    logits[np.arange(len(logits)), rows["start_position"], 0] = 5
    logits[np.arange(len(logits)), rows["end_position"], 1] = 5
    # Windows without the answer point at [CLS], which is no context token.
    answers = spans.decode_answers(logits, rows, examples)
    assert (answers["q0"]["text"], answers["q1"]["text"]) == ("cats", "café")


def test_null_threshold(words):
    loaded, tokenizer = words
    examples = [make(0, context="The cat.")]
    rows = spans.encode_examples(tokenizer, loaded, examples, CONFIG)
    logits = np.zeros((*rows["input_ids"].shape, 2))
    logits[:, 0] = 2
    plain = spans.decode_answers(logits, rows, examples)["q0"]
    assert plain["text"]
    assert (plain["score"], plain["null_score"]) == (0.0, 4.0)
    assert spans.decode_answers(logits, rows, examples, null_threshold=3.9)["q0"]["text"] == ""
    assert spans.decode_answers(logits, rows, examples, null_threshold=4.0)["q0"]["text"] == plain["text"]
