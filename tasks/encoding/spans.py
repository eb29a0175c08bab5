"""Question answering by spans: windows over long contexts, answer positions, and answers from logits.

Windows, maximum context and decoding follow BERT's SQuAD code (https://github.com/google-research/bert,
`run_squad.py`) down to the order of ties. Answers are cut from the original context by character offsets, so that no
detokenisation is needed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.system.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from tasks.encoding.vocabulary import Vocabulary

_CHUNK = 2048
_FIRST_MARK = "\u0300"


@dataclass(frozen=True, kw_only=True)
class SpanConfig:
    """Lengths of the windows over a context."""

    # The length of a row, special tokens included.
    length: int
    # The distance between the starts of consecutive windows, in tokens (BERT's `doc_stride`).
    stride: int
    # The number of question tokens that are kept.
    max_query_length: int


def window_bounds(num_tokens: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Lays windows over a context.

    Args:
        num_tokens: the number of context tokens.
        room: the number of context tokens that a window holds.
        stride: the distance between the starts of consecutive windows.

    Returns:
        First and past-the-end token of each window; together they cover the context.
    """
    bounds = []
    start = 0
    while True:
        end = min(start + room, num_tokens)
        bounds.append((start, end))
        if end == num_tokens:
            return bounds
        start += min(room, stride)


def max_context(bounds: Sequence[tuple[int, int]], num_tokens: int) -> np.ndarray:
    """Marks in which window each token has the most context on its poorer side.

    Args:
        bounds: from `window_bounds`.
        num_tokens: the number of context tokens.

    Returns:
        int64 `[num_tokens]`: the window, the first one on equality.
    """
    positions = np.arange(num_tokens)
    # BERT's score, in the same double precision.
    scores = np.full((len(bounds), num_tokens), -1.0)
    for window, (start, end) in enumerate(bounds):
        inside = positions[start:end]
        scores[window, start:end] = np.minimum(inside - start, end - 1 - inside) + 0.01 * (end - start)
    return scores.argmax(0)


def answer_tokens(offsets: np.ndarray, start: int, end: int) -> tuple[int, int] | None:
    """Finds the tokens of an answer.

    Args:
        offsets: int `[num_tokens, 2]`, characters of each context token.
        start: first character of the answer.
        end: character after the answer.

    Returns:
        First and last token that overlap the answer, or None if none does.
    """
    first = int(np.searchsorted(offsets[:, 1], start, side="right"))
    last = int(np.searchsorted(offsets[:, 0], end, side="left")) - 1
    return (first, last) if first <= last else None


def with_dropped_marks(text: str, offsets: np.ndarray) -> np.ndarray:
    """Lets tokens hold the combining marks behind them that the tokenizer dropped as accents.

    Without this an answer that ends in a decomposed letter, or in an emoji with a variation selector, loses its end.

    Args:
        text: the text that was tokenised.
        offsets: int `[num_tokens, 2]`, the characters of each token.

    Returns:
        int `[num_tokens, 2]`: the same starts, and ends behind all marks (category Mn) that follow and are in no token.
    """
    if text.isascii():
        return offsets
    marks = [
        position
        for position, character in enumerate(text)
        if character >= _FIRST_MARK and unicodedata.category(character) == "Mn"
    ]
    if not marks:
        return offsets
    dropped = np.zeros(len(text) + 1, bool)
    dropped[marks] = True
    for start, end in offsets:
        dropped[start:end] = False
    result = offsets.copy()
    for token, end in enumerate(offsets[:, 1]):
        while dropped[end]:
            end += 1
        result[token, 1] = end
    return result


def encode_examples(
    tokenizer: Tokenizer, vocabulary: Vocabulary, examples: Sequence[Mapping[str, Any]], config: SpanConfig
) -> dict[str, np.ndarray]:
    """Encodes questions with windows over their contexts.

    Args:
        tokenizer: from `tasks.encoding.vocabulary.tokenizer`.
        vocabulary: the ids of the special tokens.
        examples: with `idx`, `question`, `context`, `answer_start` and `answer_end` (characters of the training answer;
            -1 and -1 where there is none).
        config: lengths and stride.

    Returns:
        One row per window: `input_ids` int32 `[rows, length]`; `token_type_ids` uint8 `[rows, length]`;
        `start_position`, `end_position` int32 `[rows]`, 0 (the position of [CLS]) where the window does not hold the
        whole answer; `example_index` int32 `[rows]`; `offsets` int32 `[rows, length, 2]`, characters of the context
        from `with_dropped_marks`, -1 outside the context; `is_max_context` uint8 `[rows, length]`.

    Raises:
        DataError: if the longest question leaves no room for the context.
    """
    room = config.length - vocabulary.pair_specials - config.max_query_length
    if room < 1:
        raise DataError(
            f"max_query_length is {config.max_query_length}; less than span_length - {vocabulary.pair_specials} ="
            f" {config.length - vocabulary.pair_specials} is expected with this vocabulary"
        )
    # Several questions share a context; it is tokenised once.
    contexts = list(dict.fromkeys(example["context"] for example in examples))
    encodings = tokenizer.encode_batch(contexts, add_special_tokens=False)
    encoded = {
        context: (
            np.asarray(encoding.ids, np.int32),
            with_dropped_marks(context, np.asarray(encoding.offsets, np.int32).reshape(-1, 2)),
        )
        for context, encoding in zip(contexts, encodings, strict=True)
    }
    questions = tokenizer.encode_batch_fast([example["question"] for example in examples], add_special_tokens=False)
    rows: list[dict[str, np.ndarray]] = []
    for example, question in zip(examples, questions, strict=True):
        ids, offsets = encoded[example["context"]]
        query = np.asarray(question.ids[: config.max_query_length], np.int32)
        span = None
        if example["answer_start"] >= 0:
            span = answer_tokens(offsets, example["answer_start"], example["answer_end"])
        rows.append(_windows(query, ids, offsets, span, int(example["idx"]), vocabulary, config))
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _windows(
    query: np.ndarray,
    ids: np.ndarray,
    offsets: np.ndarray,
    span: tuple[int, int] | None,
    index: int,
    vocabulary: Vocabulary,
    config: SpanConfig,
) -> dict[str, np.ndarray]:
    """Encodes all windows of one example."""
    length = config.length
    context_start = len(query) + 1 + vocabulary.pair_separators
    bounds = window_bounds(len(ids), length - len(query) - vocabulary.pair_specials, config.stride)
    best_window = max_context(bounds, len(ids))
    count = len(bounds)
    result: dict[str, np.ndarray] = {
        "input_ids": np.full((count, length), vocabulary.pad_id, np.int32),
        "token_type_ids": np.zeros((count, length), np.uint8),
        "start_position": np.zeros(count, np.int32),
        "end_position": np.zeros(count, np.int32),
        "example_index": np.full(count, index, np.int32),
        "offsets": np.full((count, length, 2), -1, np.int32),
        "is_max_context": np.zeros((count, length), np.uint8),
    }
    result["input_ids"][:, 0] = vocabulary.cls_id
    result["input_ids"][:, 1 : len(query) + 1] = query
    result["input_ids"][:, len(query) + 1 : context_start] = vocabulary.sep_id
    for row, (start, end) in enumerate(bounds):
        context_end = context_start + end - start
        result["input_ids"][row, context_start:context_end] = ids[start:end]
        result["input_ids"][row, context_end] = vocabulary.sep_id
        result["token_type_ids"][row, context_start : context_end + 1] = vocabulary.second_type_id
        result["offsets"][row, context_start:context_end] = offsets[start:end]
        result["is_max_context"][row, context_start:context_end] = best_window[start:end] == row
        if span is not None and start <= span[0] and span[1] < end:
            result["start_position"][row] = span[0] - start + context_start
            result["end_position"][row] = span[1] - start + context_start
    return result


def decode_answers(
    logits: np.ndarray,
    arrays: Mapping[str, np.ndarray],
    examples: Sequence[Mapping[str, Any]],
    n_best: int = 20,
    max_answer_length: int = 30,
    null_threshold: float | None = None,
    with_nbest: bool = False,
) -> dict[str, dict[str, Any]]:
    """Turns logits into answers.

    In each window the `n_best` highest starts and ends are paired; a pair counts if both are context tokens, the start
    has its maximum context there, and the answer is no longer than `max_answer_length` tokens. The highest sum of
    logits over all windows of an example wins; of equal ones that of the earlier window, then of the higher start.

    Args:
        logits: float `[rows, length, 2]`, of the start and of the end.
        arrays: `offsets`, `is_max_context` and `example_index` of the same rows.
        examples: the examples (`id`, `context`); `example_index` is the position in this sequence.
        n_best: the number of starts and of ends that are tried per window, and of answers in `nbest`.
        max_answer_length: the longest answer, in tokens.
        null_threshold: None where every question has an answer (SQuAD v1.1); else the empty answer is given where the
            null score exceeds the best answer's score by more than this. With `np.inf` the best answer is given
            at any score, and `nbest` still holds the empty answer.
        with_nbest: adds `nbest` to each answer.

    Returns:
        Example id -> `text`, `score` (sum of logits of the best answer, -inf where there was none) and `null_score`
        (lowest sum of the [CLS] logits over the example's windows; lower means more answerable); on request `nbest`,
        the best answers with different texts, best first. Each has `text`, `score`, `probability` (softmax of the
        scores over this list) and `null` (True for the empty answer, which the list holds exactly if there is a
        threshold: in its place, or as one more at the end).
    """
    index = np.asarray(arrays["example_index"], np.int64)
    null = np.asarray(logits[:, 0, 0], np.float64) + np.asarray(logits[:, 0, 1], np.float64)
    best_null = np.full(len(examples), np.inf)
    np.minimum.at(best_null, index, null)
    rows, scores, begin, end = _candidates(logits, arrays, n_best, max_answer_length)
    owner = index[rows]
    # Sorted by example, then score; the sort is stable, so that candidates with equal scores stay in BERT's order.
    order = np.lexsort((-scores, owner))
    limits = np.searchsorted(owner[order], np.arange(len(examples) + 1))
    answers: dict[str, dict[str, Any]] = {}
    for position, example in enumerate(examples):
        chosen = order[limits[position] : limits[position + 1]]
        context, null_score = example["context"], float(best_null[position])
        answer: dict[str, Any] = {"text": "", "score": -np.inf, "null_score": null_score}
        if len(chosen):
            best = chosen[0]
            answer["score"] = float(scores[best])
            if null_threshold is None or null_score - answer["score"] <= null_threshold:
                answer["text"] = context[begin[best] : end[best]]
        if with_nbest:
            spans = ((context[begin[c] : end[c]], float(scores[c])) for c in chosen)
            answer["nbest"] = _nbest(spans, n_best, None if null_threshold is None else null_score)
        answers[str(example["id"])] = answer
    return answers


def _candidates(
    logits: np.ndarray, arrays: Mapping[str, np.ndarray], n_best: int, max_answer_length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Finds every answer that counts, by window, then rank of its start, then rank of its end.

    Returns:
        Four arrays `[candidates]`: window, score, first and past-the-end character.
    """
    parts = []
    for first in range(0, max(len(logits), 1), _CHUNK):
        rows = slice(first, first + _CHUNK)
        start = np.asarray(logits[rows, :, 0], np.float64)
        end = np.asarray(logits[rows, :, 1], np.float64)
        offsets = np.asarray(arrays["offsets"][rows])
        starts = np.argsort(-start, axis=1, kind="stable")[:, :n_best]
        ends = np.argsort(-end, axis=1, kind="stable")[:, :n_best]
        in_context = offsets[:, :, 0] >= 0
        start_ok = np.take_along_axis(in_context & (np.asarray(arrays["is_max_context"][rows]) > 0), starts, 1)
        end_ok = np.take_along_axis(in_context, ends, 1)
        span_length = ends[:, None, :] - starts[:, :, None] + 1
        valid = start_ok[:, :, None] & end_ok[:, None, :] & (span_length >= 1) & (span_length <= max_answer_length)
        row, start_rank, end_rank = np.nonzero(valid)
        start_token, end_token = starts[row, start_rank], ends[row, end_rank]
        scores = start[row, start_token] + end[row, end_token]
        parts.append((first + row, scores, offsets[row, start_token, 0], offsets[row, end_token, 1]))
    window, score, begin, past_end = (np.concatenate(column) for column in zip(*parts, strict=True))
    return window, score, begin, past_end


def _nbest(spans: Iterator[tuple[str, float]], n_best: int, null_score: float | None) -> list[dict[str, Any]]:
    """Lists the best answers of one example.

    Args:
        spans: text and score, best first.
        n_best: the length of the list, if there are as many.
        null_score: the score of the empty answer, or None where it is no choice.

    Returns:
        `nbest` of `decode_answers`.
    """
    scores: dict[str, float] = {}
    for text, score in spans:
        # The empty answer comes behind all others of its score.
        if null_score is not None and score < null_score:
            scores.setdefault("", null_score)
        if len(scores) >= n_best:
            break
        scores.setdefault(text, score)
    if null_score is not None:
        scores.setdefault("", null_score)
    if not scores:
        return []
    values = np.array(list(scores.values()))
    weights = np.exp(values - values.max())
    probabilities = (weights / weights.sum()).tolist()
    return [
        {"text": text, "score": score, "probability": probability, "null": not text}
        for (text, score), probability in zip(scores.items(), probabilities, strict=True)
    ]
