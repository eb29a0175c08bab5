"""Question answering by spans: windows over long contexts, answer positions, and answers from logits.

Windows, maximum context and decoding follow BERT's SQuAD code (https://github.com/google-research/bert,
`run_squad.py`); answers are cut from the original context by character offsets, so that no detokenisation is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_CHUNK = 2048


@dataclass(frozen=True, kw_only=True)
class SpanConfig:
    """How windows are made.

    Attributes:
      length: the length of a row, special tokens included.
      stride: how far each window starts after the one before it, in tokens (BERT's `doc_stride`).
      max_query_length: the number of question tokens that are kept.
    """

    length: int
    stride: int
    max_query_length: int


def window_bounds(num_tokens: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Lays windows over a context.

    Args:
      num_tokens: the number of context tokens.
      room: the number of context tokens that a window holds.
      stride: how far each window starts after the one before it.

    Returns:
      first and past-the-end token of each window; together they cover the context.
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
    # 100 times BERT's score min(left, right) + 0.01 * length, to stay within integers.
    scores = np.full((len(bounds), num_tokens), -1, np.int64)
    for window, (start, end) in enumerate(bounds):
        inside = positions[start:end]
        scores[window, start:end] = 100 * np.minimum(inside - start, end - 1 - inside) + (end - start)
    return scores.argmax(0)


def answer_tokens(offsets: np.ndarray, start: int, end: int) -> tuple[int, int] | None:
    """Finds the tokens of an answer.

    Args:
      offsets: int `[num_tokens, 2]`, characters of each context token.
      start: first character of the answer.
      end: character after the answer.

    Returns:
      first and last token that overlap the answer, or None if none does.
    """
    first = int(np.searchsorted(offsets[:, 1], start, side="right"))
    last = int(np.searchsorted(offsets[:, 0], end, side="left")) - 1
    return (first, last) if first <= last else None


def encode_examples(
    tokenizer: Tokenizer, vocabulary: Vocabulary, examples: Sequence[Mapping[str, Any]], config: SpanConfig
) -> dict[str, np.ndarray]:
    """Encodes questions with windows over their contexts.

    Args:
      tokenizer: from `tasks.vocabulary.tokenizer`.
      vocabulary: the ids of the special tokens.
      examples: with `idx`, `question`, `context`, `answer_start` and `answer_end` (characters of the training answer;
        -1 and -1 where there is none).
      config: lengths and stride.

    Returns:
      one row per window: `input_ids` int32 `[rows, length]`; `token_type_ids` uint8 `[rows, length]`;
      `start_position`, `end_position` int32 `[rows]`, 0 (that is [CLS]) where the window does not hold the whole
      answer; `example_index` int32 `[rows]`; `offsets` int32 `[rows, length, 2]`, -1 outside the context;
      `is_max_context` uint8 `[rows, length]`.
    """
    # Several questions share a context; it is tokenised once.
    contexts = list(dict.fromkeys(example["context"] for example in examples))
    encodings = tokenizer.encode_batch(contexts, add_special_tokens=False)
    encoded = {
        context: (np.asarray(encoding.ids, np.int32), np.asarray(encoding.offsets, np.int32).reshape(-1, 2))
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
    context_start = len(query) + 2
    bounds = window_bounds(len(ids), length - len(query) - 3, config.stride)
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
    result["input_ids"][:, 1 : context_start - 1] = query
    result["input_ids"][:, context_start - 1] = vocabulary.sep_id
    for row, (start, end) in enumerate(bounds):
        context_end = context_start + end - start
        result["input_ids"][row, context_start:context_end] = ids[start:end]
        result["input_ids"][row, context_end] = vocabulary.sep_id
        result["token_type_ids"][row, context_start : context_end + 1] = 1
        result["offsets"][row, context_start:context_end] = offsets[start:end]
        result["is_max_context"][row, context_start:context_end] = best_window[start:end] == row
        if span is not None and start <= span[0] and span[1] < end:
            result["start_position"][row] = span[0] - start + context_start
            result["end_position"][row] = span[1] - start + context_start
    return result


def decode_answers(
    start_logits: np.ndarray,
    end_logits: np.ndarray,
    arrays: Mapping[str, np.ndarray],
    examples: Sequence[Mapping[str, Any]],
    n_best: int = 20,
    max_answer_length: int = 30,
    null_threshold: float | None = None,
) -> dict[str, dict[str, Any]]:
    """Turns logits into answers.

    In each window the `n_best` highest starts and ends are paired; a pair counts if both are context tokens, the start
    has its maximum context there, and the answer is no longer than `max_answer_length` tokens. The highest sum of
    logits over all windows of an example wins.

    Args:
      start_logits: float `[rows, length]`.
      end_logits: float `[rows, length]`.
      arrays: `offsets`, `is_max_context` and `example_index` of the same rows.
      examples: the examples (`id`, `context`); `example_index` is the position in this sequence.
      n_best: how many starts and ends are tried per window.
      max_answer_length: the longest answer, in tokens.
      null_threshold: None where every question has an answer (SQuAD v1.1); else the empty answer is given where the
        null score exceeds the best answer's score by more than this.

    Returns:
      example id -> `text`, `score` (sum of logits of the best answer, -inf where there was none) and `null_score`
      (lowest sum of the [CLS] logits over the example's windows; lower means more answerable).
    """
    index = np.asarray(arrays["example_index"], np.int64)
    score = np.full(len(index), -np.inf)
    begin = np.zeros(len(index), np.int64)
    end = np.zeros(len(index), np.int64)
    for first in range(0, len(index), _CHUNK):
        rows = slice(first, first + _CHUNK)
        score[rows], begin[rows], end[rows] = _best_spans(
            np.asarray(start_logits[rows], np.float64),
            np.asarray(end_logits[rows], np.float64),
            np.asarray(arrays["offsets"][rows]),
            np.asarray(arrays["is_max_context"][rows]),
            n_best,
            max_answer_length,
        )
    null = np.asarray(start_logits[:, 0], np.float64) + np.asarray(end_logits[:, 0], np.float64)
    best_null = np.full(len(examples), np.inf)
    np.minimum.at(best_null, index, null)
    # Sorted by example, then score; the sort is stable, so the earlier window wins a tie.
    order = np.lexsort((-score, index))
    winners = order[np.unique(index[order], return_index=True)[1]]
    answers: dict[str, dict[str, Any]] = {
        str(example["id"]): {"text": "", "score": -np.inf, "null_score": float(best_null[position])}
        for position, example in enumerate(examples)
    }
    for row in winners:
        if not np.isfinite(score[row]):
            continue
        example = examples[index[row]]
        answer = answers[str(example["id"])]
        answer["score"] = float(score[row])
        if null_threshold is None or answer["null_score"] - answer["score"] <= null_threshold:
            answer["text"] = example["context"][begin[row] : end[row]]
    return answers


def _best_spans(
    start_logits: np.ndarray,
    end_logits: np.ndarray,
    offsets: np.ndarray,
    is_max_context: np.ndarray,
    n_best: int,
    max_answer_length: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the best answer of each window: its score and its first and past-the-end character, each `[rows]`."""
    rows = np.arange(len(start_logits))
    in_context = offsets[:, :, 0] >= 0
    starts = np.argsort(-start_logits, axis=1, kind="stable")[:, :n_best]
    ends = np.argsort(-end_logits, axis=1, kind="stable")[:, :n_best]
    start_ok = np.take_along_axis(in_context & (is_max_context > 0), starts, 1)
    end_ok = np.take_along_axis(in_context, ends, 1)
    span_length = ends[:, None, :] - starts[:, :, None] + 1
    valid = start_ok[:, :, None] & end_ok[:, None, :] & (span_length >= 1) & (span_length <= max_answer_length)
    sums = np.take_along_axis(start_logits, starts, 1)[:, :, None] + np.take_along_axis(end_logits, ends, 1)[:, None, :]
    scores = np.where(valid, sums, -np.inf).reshape(len(rows), -1)
    best = scores.argmax(1)
    first = starts[rows, best // ends.shape[1]]
    last = ends[rows, best % ends.shape[1]]
    return scores[rows, best], offsets[rows, first, 0], offsets[rows, last, 1]
