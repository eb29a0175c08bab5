"""Systems paired by examples: closed forms, SciPy's paired test, and what pairing does to a board."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from benchmark.records import outcomes as outcome_files
from benchmark.records.outcomes import Outcomes, TaskOutcomes
from benchmark.records.record import Record, RecordError, write
from benchmark.records.task_score import MetricScore
from leaderboard.__main__ import main
from leaderboard.board import board_data
from leaderboard.estimates import estimates
from leaderboard.load import load
from leaderboard.pairing import PairedExamples, covariances, paired_examples
from tasks.scoring import bootstrap, outcomes
from tests.helpers.board_records import make_record, make_task

SST2 = "glue_sst2_v1"
KEY = f"{SST2}.validation.accuracy"
COUNT = 500


def system(name: str, answers: np.ndarray, references: np.ndarray) -> tuple[Record, TaskOutcomes]:
    """A record whose runs gave the answers `[runs, n]`, with what it made of every example."""
    found = TaskOutcomes(
        task=SST2, split="validation", references=references.tolist(), runs={"predictions": answers.tolist()}
    )
    values = outcomes.scores("accuracy", found.references, found.runs)
    middle = outcomes.middle_run(values)
    interval = bootstrap.intervals(("accuracy",), found.references, found.runs, middle)["accuracy"]
    metric = MetricScore(value=float(np.median(values)), per_seed=values, interval=interval)
    seeds = list(range(len(answers)))
    task = make_task(metric.value, half=None, metrics={"accuracy": metric}, seeds=seeds, num_examples=len(references))
    return make_record(name, task.model_copy(update={"outcomes_sha256": found.digest})), found


def board(seeds: int = 1) -> tuple[list[Record], dict[str, dict[str, PairedExamples]], np.ndarray]:
    """Three systems that mostly err on the same examples; `b` is worse than `a` by 4 points, `c` by 0.2."""
    rng = np.random.default_rng(5)
    references = rng.integers(0, 2, COUNT)
    wrong = np.zeros((3, seeds, COUNT), bool)
    wrong[:, :, :75] = True
    wrong[1, :, 75:95] = True
    wrong[2, :, 75] = True
    if seeds > 1:
        wrong ^= rng.random(wrong.shape) < 0.01
    answers = np.where(wrong, 1 - references, references)
    made = [system(name, own, references) for name, own in zip("abc", answers, strict=True)]
    pairs = {record.id: {SST2: paired_examples(record.tasks[0], found)} for record, found in made}
    return [record for record, _ in made], pairs, ~wrong


def test_covariances_are_those_of_the_answers() -> None:
    _, pairs, right = board(3)
    found = covariances([pairs[name] for name in "abc"], [SST2])
    expected = np.cov(100.0 * right.mean(1)) / COUNT
    assert found == pytest.approx(expected)
    # Two tasks of which one is shared count a quarter; systems without examples in common have none.
    half = covariances([pairs["a"], pairs["b"], {}], [SST2, "glue_rte_v1"])
    assert half is not None and half[0, 1] == pytest.approx(expected[0, 1] / 4) and not half[2].any()
    assert covariances([pairs["a"], {}], [SST2]) is None
    other = PairedExamples("x", *(getattr(pairs["a"][SST2], n) for n in ("influences", "variance", "interaction")))
    assert covariances([pairs["a"], {SST2: other}], [SST2]) is None


def test_the_board_pairs_systems_with_one_seed_as_students_test_does() -> None:
    records, pairs, right = board()
    expected = scipy.stats.ttest_rel(*right[:2, 0].astype(float)).pvalue
    assert expected < 0.01 < scipy.stats.ttest_ind(*right[:2, 0].astype(float)).pvalue
    alone, paired = board_data(records, "t", None), board_data(records, "t", None, pairs=pairs)
    # Four points on 500 examples are nothing where systems are compared by their intervals.
    assert alone["places"][KEY] == {"a": [1, True], "b": [1, True], "c": [1, True]}
    assert paired["places"][KEY] == {"a": [1, True], "c": [1, True], "b": [3, False]}
    assert paired["resolutions"][KEY] < 0.8 * alone["resolutions"][KEY]
    # The only task is the mean.
    assert paired["places"]["mean"] == paired["places"][KEY]


def test_the_noise_of_examples_is_that_of_the_mean_over_runs() -> None:
    records, pairs, right = board(3)
    found = estimates(records, None, pairs)["a"][KEY].entry
    answers = 100.0 * right[0]
    assert found.examples.value == pytest.approx(np.var(answers.mean(0), ddof=1) / COUNT)
    rest = answers - answers.mean(0) - answers.mean(1, keepdims=True) + answers.mean()
    assert found.interaction.value == pytest.approx((rest**2).sum() / (2 * (COUNT - 1)) / (3 * COUNT))


def test_a_score_without_an_error_still_has_an_interval() -> None:
    references = np.ones(COUNT, int)
    record, found = system("a", references[None], references)
    estimate = estimates([record], None, {"a": {SST2: paired_examples(record.tasks[0], found)}})["a"][KEY]
    assert estimate.interval is not None and 98.0 < estimate.interval[0] < 99.9 and estimate.interval[1] == 100.0


def test_distillations_count_alike() -> None:
    rng = np.random.default_rng(1)
    references = rng.integers(0, 2, COUNT)
    record, found = system("a", np.where(rng.random((3, COUNT)) < 0.1, 1 - references, references), references)
    task = record.tasks[0].model_copy(update={"distill_seeds": [0, 0, 4], "seeds": [0, 1, 0]})
    right = 100.0 * (np.asarray(found.runs["predictions"]) == references)
    mean = (right[:2].mean(0) + right[2]) / 2
    assert paired_examples(task, found).influences == pytest.approx(mean - mean.mean())


def written(folder: Path) -> Path:
    references = np.random.default_rng(2).integers(0, 2, 60)
    record, found = system("a", np.array([references, 1 - references, references]), references)
    path = folder / "results" / "a.json"
    outcome_files.write(outcome_files.outcomes_path(path), Outcomes(record_id="a", tasks=[found]))
    write(path, record)
    return path


def test_scores_are_computed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path)
    assert set(load(tmp_path).pairs["a"]) == {SST2}
    assert main(["rescore", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "a: scores and intervals of 1 tasks follow from their outcomes\n"
    score = json.loads(path.read_text())
    metric = score["tasks"][0]["metrics"]["accuracy"]
    for changes, named in (
        ({"value": 99.0}, "tasks.glue_sst2_v1.metrics.accuracy = 99, 100, 0, 100: its outcomes give 100, 100, 0, 100"),
        ({"per_seed": [100.0, 1.0, 100.0]}, "its outcomes give"),
        ({"interval": [99.0, 100.0]}, "metrics.accuracy.interval = (99.0, 100.0): its outcomes give (100.0, 100.0)"),
    ):
        score["tasks"][0]["metrics"]["accuracy"] = metric | changes
        path.write_text(json.dumps(score))
        assert main(["rescore", "--results", str(tmp_path)]) == 2
        message = capsys.readouterr().err
        assert named in message and message.count("\n") == 1
    # The page is refused for a false score, too.
    score["tasks"][0]["metrics"]["accuracy"] = metric | {"value": 99.0}
    path.write_text(json.dumps(score))
    with pytest.raises(RecordError, match="its outcomes give"):
        load(tmp_path)
