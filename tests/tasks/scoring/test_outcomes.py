"""Scores and influences from outcomes, against scikit-learn, SciPy, SQuAD's rules and the jackknife."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from tasks.catalogue import get_task
from tasks.scoring import metrics, outcomes
from tasks.system.errors import DataError

MRPC, COLA, STSB, SQUAD2 = (get_task(n) for n in ("glue_mrpc_v1", "glue_cola_v1", "glue_stsb_v1", "squad_v2_0_v1"))


def noisy(references: np.ndarray, rng: np.random.Generator) -> list[Any]:
    flipped = rng.random(len(references)) < 0.25
    if references.dtype.kind == "f":
        return np.clip(references + rng.normal(size=len(references)), 0, 5).tolist()
    return np.where(flipped, 1 - references, references).tolist()


def column_case(task: Any) -> tuple[list[list[Any]], np.ndarray]:
    rng = np.random.default_rng(3)
    references = rng.uniform(0, 5, 80) if task is STSB else rng.integers(0, 2, 80)
    return [noisy(references, rng) for _ in range(3)], references


@pytest.mark.parametrize("task", [MRPC, COLA, STSB])
def test_scores_of_columns_are_those_of_scikit_learn_and_scipy(task: Any) -> None:
    runs, references = column_case(task)
    found = json.loads(json.dumps(outcomes.outcomes(task, runs, references)))
    oracles = {
        "accuracy": sklearn.metrics.accuracy_score,
        "f1": sklearn.metrics.f1_score,
        "matthews": sklearn.metrics.matthews_corrcoef,
        "pearson": lambda a, b: scipy.stats.pearsonr(a, b).statistic,
        "spearman": lambda a, b: scipy.stats.spearmanr(a, b).statistic,
    }
    for name in task.metrics:
        expected = [100.0 * oracles[name](references, run) for run in runs]
        assert outcomes.scores(name, found["references"], found["runs"]) == pytest.approx(expected)
        assert outcomes.influences(name, found["references"], found["runs"]).shape == (3, 80)


def questions() -> list[dict[str, Any]]:
    """Six questions on two paragraphs, of which one has no answer."""
    texts = ["the red house", "blue", "a green tree", "", "seven", "the old man"]
    return [
        {"id": str(n), "context": f"paragraph {n // 4}", "answers": [{"text": text}] if text else []}
        for n, text in enumerate(texts)
    ]


def test_scores_of_questions_follow_the_rules_of_squad() -> None:
    runs = [
        {"0": "red house", "1": "blue sky", "2": "tree", "3": "", "4": "eight", "5": "man"},
        {"0": "house", "1": "", "2": "a green tree", "3": "none", "4": "seven", "5": "old man"},
    ]
    found = json.loads(json.dumps(outcomes.outcomes(SQUAD2, runs, questions())))
    assert found["references"] == [0, 0, 0, 0, 1, 1]
    # Articles do not count: "red house" is exact, "blue sky" has one of two words right and all of one, F1 2/3.
    assert found["runs"]["exact_match"] == [[1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 1, 1]]
    assert found["runs"]["f1"][0] == pytest.approx([1.0, 2 / 3, 2 / 3, 1.0, 0.0, 2 / 3])
    for name in ("exact_match", "f1"):
        expected = [metrics.score(SQUAD2, run, questions())[name] for run in runs]
        assert outcomes.scores(name, found["references"], found["runs"]) == expected
    moved = outcomes.influences("exact_match", found["references"], found["runs"])
    # Of two paragraphs: sums of four and of two questions about the mean of one third, scaled to two of six.
    assert moved[0] == pytest.approx([100 * (2 - 4 / 3) / 3, 100 * (0 - 2 / 3) / 3])


def test_the_middle_run_is_the_lower_median() -> None:
    assert outcomes.middle_run([3.0, 1.0, 2.0, 2.0]) == 2


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(DataError, match="metric 'bleu': expected one of accuracy, "):
        outcomes.scores("bleu", [0, 1], {"predictions": [[0, 1]]})
    with pytest.raises(DataError, match="no label"):
        outcomes.outcomes(MRPC, [[0, 1]], [-1, 1])
