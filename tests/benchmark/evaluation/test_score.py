"""From outputs to predictions, and from predictions to scores with intervals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.evaluation.score import load_references, task_score, to_result
from tasks.arrays.token_arrays import EXAMPLES_FILE, TokenArrays
from tasks.catalogue import get_task
from tasks.scoring import metrics
from tests.helpers.bootstrap_intervals import bootstrap_intervals

SST2, STSB, MRPC = (get_task(f"glue_{name}_v1") for name in ("sst2", "stsb", "mrpc"))
SQUAD1, SQUAD2 = get_task("squad_v1_1_v1"), get_task("squad_v2_0_v1")


def rows(directory: Path = Path(), **features: np.ndarray) -> TokenArrays:
    return TokenArrays(directory, features, {"rows": len(next(iter(features.values())))})


def examples(paragraphs: int, questions: int) -> list[dict[str, Any]]:
    return [
        {"id": f"{p}-{q}", "context": f"paragraph {p} says yes", "answers": [{"text": "yes", "answer_start": 17}]}
        for p in range(paragraphs)
        for q in range(questions)
    ]


def test_classification_takes_the_highest_logit() -> None:
    outputs = np.array([[0.1, 0.2], [3.0, -1.0]], np.float32)
    labels = rows(label=np.array([1, 0]))
    predictions = to_result(SST2, outputs, labels, load_references(SST2, labels))["predictions"]
    assert predictions == [1, 0]
    assert load_references(SST2, labels).tolist() == [1, 0]
    json.dumps(predictions)


def test_regression_stays_within_the_range() -> None:
    predictions = to_result(STSB, np.array([-1.0, 2.5, 7.0], np.float32), rows(label=np.zeros(3)), None)["predictions"]
    assert predictions == [0.0, 2.5, 5.0]
    json.dumps(predictions)


@pytest.fixture
def span_rows(tmp_path: Path) -> TokenArrays:
    """One question with the tokens `[CLS] question [SEP] red house [SEP]`, answer `house`."""
    example = {"id": "q", "context": "red house", "answers": [{"text": "house", "answer_start": 4}]}
    (tmp_path / EXAMPLES_FILE).write_text(json.dumps(example) + "\n")
    none = [-1, -1]
    offsets = np.array([[none, none, none, [0, 3], [4, 9], none, none, none]], np.int32)
    context = np.array([[0, 0, 0, 1, 1, 0, 0, 0]], bool)
    return rows(tmp_path, offsets=offsets, is_max_context=context, example_index=np.array([0], np.int32))


def test_spans_become_text(span_rows: TokenArrays) -> None:
    # The outputs are shorter than the rows: columns of padding alone are not computed.
    outputs = np.full((1, 6, 2), -5.0, np.float32)
    outputs[0, 4] = 5.0
    references = load_references(SQUAD1, span_rows)
    assert to_result(SQUAD1, outputs, span_rows, references)["predictions"] == {"q": "house"}
    # A higher score of the first token means "no answer", which only version 2 knows.
    outputs[0, 0] = 9.0
    assert to_result(SQUAD1, outputs, span_rows, references)["predictions"] == {"q": "house"}
    assert to_result(SQUAD2, outputs, span_rows, references)["predictions"] == {"q": ""}


def test_questions_that_may_have_no_answer(span_rows: TokenArrays) -> None:
    outputs = np.full((1, 6, 2), -5.0, np.float32)
    outputs[0, 4] = [5.0, 4.0]
    outputs[0, 0] = [6.0, 6.0]
    references = load_references(SQUAD2, span_rows)
    result = to_result(SQUAD2, outputs, span_rows, references, with_nbest=True)
    assert result["predictions"] == {"q": ""}
    # The answer is right, but 3 below the null score: only a threshold of 3 or more lets it in.
    assert result["details"] == {
        **{"exact": 0.0, "f1": 0.0, "total": 1.0, "HasAns_exact": 0.0, "HasAns_f1": 0.0, "HasAns_total": 1.0},
        **{"best_exact": 100.0, "best_exact_thresh": 3.0, "best_f1": 100.0, "best_f1_thresh": 3.0},
    }
    assert [(e["text"], e["score"], e["null"]) for e in result["nbest"]["q"][:2]] == [
        ("", 12.0, True),
        ("house", 9.0, False),
    ]
    json.dumps(result, allow_nan=False)
    plain = to_result(SQUAD1, outputs, span_rows, references, with_nbest=True)
    assert set(plain) == {"predictions", "nbest"} and not any(entry["null"] for entry in plain["nbest"]["q"])
    assert set(to_result(SQUAD2, outputs, span_rows, references)) == {"predictions", "details", "null_odds"}


def test_the_details_are_those_of_the_median_seed() -> None:
    references = examples(4, 1)
    runs = [{e["id"]: "yes" for e in references[:right]} for right in (4, 1, 2)]
    details = [{"best_f1": float(number)} for number in range(3)]
    assert task_score(SQUAD2, "validation", (0, 1, 2), runs, references, [], details)[0].details == {"best_f1": 2.0}
    assert task_score(SQUAD2, "validation", (0, 1, 2), runs, references, [])[0].details == {}


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        references = rng.integers(0, 2, 100)
        predictions = np.where(rng.random(100) < 0.8, references, 1 - references)
        low, high = bootstrap_intervals(SST2, predictions.tolist(), references)["accuracy"]
        covered += low <= 80.0 <= high
    assert 85 <= covered <= 100


@pytest.mark.parametrize("task", [MRPC, STSB])
def test_every_metric_has_an_interval_around_its_score(task: Any) -> None:
    rng = np.random.default_rng(1)
    references = rng.integers(0, 2, 60) if task is MRPC else rng.uniform(0, 5, 60)
    predictions = np.where(rng.random(60) < 0.8, references, references[::-1]).tolist()
    values = metrics.score(task.name, predictions, references)
    intervals = bootstrap_intervals(task, predictions, references)
    assert set(intervals) == set(task.metrics)
    for name, (low, high) in intervals.items():
        assert low < values[name] < high
    assert intervals == bootstrap_intervals(task, predictions, references)


def test_questions_of_a_paragraph_are_drawn_together() -> None:
    # All right or all wrong within a paragraph: 400 questions say no more than the 20 paragraphs that they ask about.
    references = examples(20, 20)
    by_paragraph = {e["id"]: "yes" if int(e["id"].split("-")[0]) < 10 else "no" for e in references}
    spread = {e["id"]: "yes" if int(e["id"].split("-")[1]) < 10 else "no" for e in references}
    wide, narrow = (bootstrap_intervals(SQUAD1, p, references)["exact_match"] for p in (by_paragraph, spread))
    assert narrow == (50.0, 50.0)
    # The standard error of a share of one half over 20 draws is 11 points.
    assert wide[1] - wide[0] == pytest.approx(2 * 1.96 * 100 * np.sqrt(0.25 / 20), rel=0.2)


def right(count: int, total: int = 100) -> list[int]:
    """Predictions of which `count` are right where every label is 1."""
    return [1] * count + [0] * (total - count)


def test_the_median_seed_is_shown() -> None:
    references = np.ones(100, int)
    runs = [right(90), right(50), right(70)]
    result, _ = task_score(SST2, "validation", (3, 1, 2), runs, references, ["a", "b", "c"])
    accuracy = result.metrics["accuracy"]
    assert accuracy.value == 70.0
    assert accuracy.per_seed == [90.0, 50.0, 70.0]
    assert accuracy.interval == bootstrap_intervals(SST2, right(70), references)["accuracy"]
    assert (result.seeds, result.predictions, result.num_examples) == ([3, 1, 2], ["a", "b", "c"], 100)
    assert (result.primary_metric, result.split) == ("accuracy", "validation")


def test_of_two_seeds_the_lower_gives_the_interval() -> None:
    references = np.ones(100, int)
    accuracy = task_score(SST2, "validation", (0, 1), [right(90), right(60)], references, [])[0].metrics["accuracy"]
    assert accuracy.value == 75.0
    assert accuracy.interval == bootstrap_intervals(SST2, right(60), references)["accuracy"]


def test_span_scores_of_several_seeds() -> None:
    references = examples(4, 2)
    runs: list[dict[str, str]] = [{e["id"]: "yes" for e in references}, {}, {"0-0": "yes"}]
    result, _ = task_score(SQUAD1, "validation", (0, 1, 2), runs, references, [])
    assert result.metrics[SQUAD1.primary_metric].value == 12.5
    assert result.num_examples == 8
