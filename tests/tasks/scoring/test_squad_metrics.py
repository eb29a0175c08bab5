"""SQuAD's scores against both official scripts' rules, written out step by step as the scripts go."""

import math
import re
import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.scoring import metrics
from tasks.scoring.squad_metrics import (
    apply_null_threshold,
    best_null_threshold,
    evaluate_v2,
    normalize_answer,
    span_scores,
)

# Words that collide after normalisation, articles, punctuation of ASCII and beyond, and other scripts.
PIECES = [
    "cat",
    "Cat",
    "the",
    "a",
    "An",
    "THE",
    "dog",
    "sat",
    "U.S.",
    "us",
    "-",
    "'",
    "«x»",
    "£20",
    "20",
    "é",
    "É",
    "İ",
]
PIECES += ["東京", "😀", "\u00a0", "\t", "  ", "a-the", "theory", "\u0301", "_", "x_y", "ǅ", "ß", "\u200b", "　"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=5).map(" ".join) | st.text(max_size=8)
ANSWERS = st.lists(TEXTS, min_size=1, max_size=3)


def plain_normalize(text):
    """Lower case, then no punctuation, then no articles, then single spaces."""
    lowered = text.lower()
    bare = "".join(character for character in lowered if character not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def plain_f1_v1(prediction, truth):
    prediction_tokens, truth_tokens = plain_normalize(prediction).split(), plain_normalize(truth).split()
    same = sum((Counter(prediction_tokens) & Counter(truth_tokens)).values())
    if same == 0:
        return 0
    precision, recall = same / len(prediction_tokens), same / len(truth_tokens)
    return 2 * precision * recall / (precision + recall)


def plain_f1_v2(truth, prediction):
    truth_tokens = plain_normalize(truth).split() if truth else []
    prediction_tokens = plain_normalize(prediction).split() if prediction else []
    same = sum((Counter(truth_tokens) & Counter(prediction_tokens)).values())
    if len(truth_tokens) == 0 or len(prediction_tokens) == 0:
        return int(truth_tokens == prediction_tokens)
    if same == 0:
        return 0
    precision, recall = same / len(prediction_tokens), same / len(truth_tokens)
    return 2 * precision * recall / (precision + recall)


def plain_v1(predictions, references):
    exact = f1 = 0.0
    for reference in references:
        if reference["id"] not in predictions:
            continue
        prediction = predictions[reference["id"]]
        truths = [answer["text"] for answer in reference["answers"]]
        exact += max(float(plain_normalize(prediction) == plain_normalize(truth)) for truth in truths)
        f1 += max(plain_f1_v1(prediction, truth) for truth in truths)
    return {"exact_match": 100 * exact / len(references), "f1": 100 * f1 / len(references)}


def plain_raw_v2(predictions, references):
    exact, f1 = {}, {}
    for reference in references:
        truths = [answer["text"] for answer in reference["answers"] if plain_normalize(answer["text"])] or [""]
        prediction = predictions[reference["id"]]
        exact[reference["id"]] = max(int(plain_normalize(truth) == plain_normalize(prediction)) for truth in truths)
        f1[reference["id"]] = max(plain_f1_v2(truth, prediction) for truth in truths)
    return exact, f1


def plain_best(predictions, scores, differences, has_answer):
    """The sweep of the script: questions in rising order of their difference, each let in with its gain."""
    current = best = sum(not value for value in has_answer.values())
    threshold = 0.0
    for name in sorted(differences, key=lambda name: differences[name]):
        gain = scores[name] if has_answer[name] else (-1 if predictions[name] else 0)
        current += gain
        if current > best:
            best, threshold = current, differences[name]
    return 100.0 * best / len(scores), threshold


def reference(name, *texts):
    return {"id": name, "answers": [{"text": text, "answer_start": 0} for text in texts]}


@given(TEXTS)
@example("The cat's a-b, an U.S. theory")
def test_normalisation_equals_the_rules(text):
    assert normalize_answer(text) == plain_normalize(text)


@given(st.lists(st.tuples(ANSWERS, st.none() | TEXTS), min_size=1, max_size=6))
@example([(["the"], "")])
@example([(["the"], None)])
@example([(["cat", "cat cat"], "a cat cat cat")])
def test_scores_equal_those_of_v1(rows):
    references = [reference(str(number), *answers) for number, (answers, _) in enumerate(rows)]
    predictions = {str(number): text for number, (_, text) in enumerate(rows) if text is not None}
    expected = plain_v1(predictions, references)
    assert metrics.score("squad_v1_1_v1", predictions, references) == pytest.approx(expected, abs=1e-9)


# Equal and close differences, and scores of questions for which no answer was found.
DIFFERENCES = st.integers(-3, 3).map(float) | st.floats(-20, 20)
QUESTIONS = st.lists(st.tuples(st.lists(TEXTS, max_size=3), TEXTS, DIFFERENCES), min_size=1, max_size=30)


@given(QUESTIONS, st.sampled_from([0.0, -1.0, 2.5]))
@example([([], "the", 1.0), (["the"], "x", -1.0), (["cat"], "cat", -1.0), ([], "dog", -1.0)], 0.0)
@example([([], "", -1.0), (["cat"], "cat", 1.0)], 0.0)
@example([(["cat"], "cat", 1.0), ([], "dog", 1.0)] * 20 + [([], "dog", 1.0), (["cat"], "cat", 1.0)] * 20, 0.0)
@example([(["cat"], "cat", 1.0)] * 30 + [([], "dog", 1.0)] * 30, 0.0)
def test_numbers_equal_those_of_v2(rows, threshold):
    references = [reference(str(number), *answers) for number, (answers, _, _) in enumerate(rows)]
    answers = {str(n): {"text": t, "score": 0.0, "null_score": d} for n, (_, t, d) in enumerate(rows)}
    found = evaluate_v2(answers, references, threshold)

    has_answer = {entry["id"]: bool(entry["answers"]) for entry in references}
    texts = {name: answer["text"] for name, answer in answers.items()}
    differences = {name: answer["null_score"] for name, answer in answers.items()}
    chosen = {name: "" if differences[name] > threshold else text for name, text in texts.items()}
    expected = {}
    given_exact, given_f1 = plain_raw_v2(chosen, references)
    for prefix, names in (
        ("", list(has_answer)),
        ("HasAns_", [name for name, value in has_answer.items() if value]),
        ("NoAns_", [name for name, value in has_answer.items() if not value]),
    ):
        if names:
            expected[f"{prefix}exact"] = 100.0 * sum(given_exact[name] for name in names) / len(names)
            expected[f"{prefix}f1"] = 100.0 * sum(given_f1[name] for name in names) / len(names)
            expected[f"{prefix}total"] = len(names)
    raw_exact, raw_f1 = plain_raw_v2(texts, references)
    expected["best_exact"], expected["best_exact_thresh"] = plain_best(texts, raw_exact, differences, has_answer)
    expected["best_f1"], expected["best_f1_thresh"] = plain_best(texts, raw_f1, differences, has_answer)
    assert found == pytest.approx(expected, abs=1e-9)
    assert metrics.score("squad_v2_0_v1", chosen, references) == pytest.approx(
        {"exact_match": expected["exact"], "f1": expected["f1"]}, abs=1e-9
    )
    for metric, name in (("exact_match", "exact"), ("f1", "f1")):
        best = best_null_threshold(answers, references, metric)
        assert best == (found[f"best_{name}_thresh"], found[f"best_{name}"])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12), st.permutations(range(12)))
def test_no_threshold_beats_the_best_one(rows, differences):
    references = [reference(str(number), *(["x"] if answerable else [])) for number, (answerable, _) in enumerate(rows)]
    answers = {
        str(number): {"text": "x" if right else "y", "score": 0.0, "null_score": float(difference - 6)}
        for number, ((_, right), difference) in enumerate(zip(rows, differences, strict=False))
    }

    def score_at(threshold):
        return metrics.score("squad_v2_0_v1", apply_null_threshold(answers, threshold), references)["f1"]

    threshold, best = best_null_threshold(answers, references)
    assert best == pytest.approx(max(score_at(candidate) for candidate in np.arange(-7.5, 6.5)))
    # The script says 0 where "no answer" to every question is best.
    assert best == pytest.approx(score_at(threshold)) or threshold == 0.0


def test_questions_without_any_span_change_no_threshold():
    references = [reference("a", "the"), reference("b", "cat"), reference("c")]
    answers = {name: {"text": "", "score": -math.inf, "null_score": 1.0} for name in "ac"}
    answers["b"] = {"text": "cat", "score": 3.0, "null_score": 1.0}
    found = evaluate_v2(answers, references)
    assert all(map(math.isfinite, found.values()))
    assert (found["best_exact"], found["best_exact_thresh"]) == (pytest.approx(200 / 3), -2.0)


@pytest.mark.parametrize(
    ("text", "normalized"),
    [("The  Cat!", "cat"), ("an a-b the", "ab"), ("U.S. Army", "us army"), ("", ""), ("theory", "theory")],
)
def test_normalisation(text, normalized):
    assert normalize_answer(text) == normalized


@pytest.mark.parametrize(
    ("prediction", "answers", "v2", "exact", "f1"),
    [
        ("the cat", ["Cat"], False, 1.0, 1.0),
        ("black cat", ["cat", "black dog sat"], False, 0.0, 2 / 3),
        ("cat cat", ["cat"], False, 0.0, 2 / 3),
        ("", ["cat"], False, 0.0, 0.0),
        ("", ["the"], False, 1.0, 0.0),
        ("", [], True, 1.0, 1.0),
        ("cat", [], True, 0.0, 0.0),
        ("", ["cat"], True, 0.0, 0.0),
        ("cat", ["the", "cat"], True, 1.0, 1.0),
    ],
)
def test_span_rules(prediction, answers, v2, exact, f1):
    assert span_scores(prediction, answers, v2) == pytest.approx({"exact_match": exact, "f1": f1})


def test_missing_predictions():
    references = [reference("a", "cat"), reference("b", "dog")]
    assert metrics.score("squad_v1_1_v1", {"a": "cat"}, references) == {"f1": 50.0, "exact_match": 50.0}
    assert metrics.score("squad_v2_0_v1", {"b": "dog"}, [reference("a"), reference("b", "dog")])["f1"] == 100.0
