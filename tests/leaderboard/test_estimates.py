"""Scores with their noise, from records."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from benchmark.records.record import Record
from benchmark.records.task_recipe import TaskRecipe
from benchmark.records.task_score import MetricScore, TaskScore
from leaderboard import rank
from leaderboard.board import board_data
from leaderboard.estimates import common_tasks, estimates
from leaderboard.export import records_csv
from tests.helpers.board_records import make_record, make_task

SST2 = "glue_sst2_v1.validation.accuracy"
SEEDS = {"a": (80.0, 82.0, 83.0), "b": (70.0, 71.0, 75.0), "c": (60.0, 60.5, 64.0)}


def seeded(task: str, values: tuple[float, ...], half: float | None = 2.0) -> TaskScore:
    value = float(np.median(values))
    interval = None if half is None else (value - half, value + half)
    metrics = {"accuracy": MetricScore(value=value, per_seed=list(values), interval=interval)}
    return make_task(value, task, metrics=metrics, seeds=list(range(len(values))))


def board(**changes: object) -> list[Record]:
    return [make_record(name, seeded("glue_sst2_v1", values), **changes) for name, values in SEEDS.items()]  # type: ignore[arg-type]


def test_another_run_is_as_far_as_the_seeds_of_all_systems_say() -> None:
    found = {name: own[SST2] for name, own in estimates(board()).items()}
    angles = {name: np.arcsin(np.sqrt(np.array(values) / 100)) for name, values in SEEDS.items()}
    # Three similar variances are one, with two degrees of freedom from each system.
    pooled = np.mean([np.var(values, ddof=1) for values in angles.values()])
    for name, values in angles.items():
        half = scipy.stats.t.ppf(0.975, 6) * math.sqrt(pooled * (1 + 1 / 3))
        expected = 100 * np.sin(values.mean() + np.array([-half, half])) ** 2
        assert found[name].run == (pytest.approx(expected[0]), pytest.approx(expected[1]))
        assert found[name].value == SEEDS[name][1]
    # What is pooled is a system's own noise, not the distance between systems.
    alone = estimates([board()[0]])["a"][SST2]
    assert alone.run is not None and alone.run[0] < found["a"].run[0]  # type: ignore[index]


def test_the_mean_over_runs_has_the_noise_of_examples_and_seeds() -> None:
    half = 2.0
    one_seed = [make_record(name, seeded("glue_sst2_v1", values[:1])) for name, values in SEEDS.items()]
    for name, own in estimates(one_seed).items():
        p, variance = SEEDS[name][0] / 100, (half / 1.959963984540054 / 100) ** 2
        count, width = p * (1 - p) / variance, scipy.stats.t.ppf(0.975, 99)
        centre = (p + width**2 / (2 * count)) / (1 + width**2 / count)
        spread = width * math.sqrt(p * (1 - p) / count + width**2 / (4 * count**2)) / (1 + width**2 / count)
        assert own[SST2].interval == (pytest.approx(100 * (centre - spread)), pytest.approx(100 * (centre + spread)))
        # Nothing is known of seeds.
        assert own[SST2].run is None and not own[SST2].entry.seeds.known
    for name, own in estimates(board()).items():
        low, high = own[SST2].interval or (0.0, 0.0)
        narrow = estimates(one_seed)[name][SST2].interval or (0.0, 0.0)
        assert high - low > narrow[1] - narrow[0]
        assert own[SST2].entry.mean == pytest.approx(np.mean(SEEDS[name]))


def test_the_mean_of_tasks_follows_the_seeds() -> None:
    tasks = {"glue_sst2_v1": (80.0, 84.0), "glue_rte_v1": (60.0, 62.0)}
    record = make_record("a", *(seeded(task, values) for task, values in tasks.items()))
    other = make_record("b", *(seeded(task, (50.0, 50.0)) for task in tasks))
    found = estimates([record, other])["a"]["mean"]
    assert found.value == 71.5
    # Runs of 70 and 73 points and of 50 and 50, and half of the errors of two tasks in quadrature.
    assert found.entry.seeds.value == pytest.approx((4.5 + 0.0) / 2 / 2)
    assert found.entry.examples.value == pytest.approx(2 * (2.0 / 1.959963984540054) ** 2 / 4)
    # Other numbers of seeds: the mean has one run.
    uneven = make_record("a", seeded("glue_sst2_v1", (80.0, 84.0)), seeded("glue_rte_v1", (61.0,)))
    assert estimates([uneven])["a"]["mean"].run is None
    assert "mean" not in estimates([record, make_record("b", seeded("glue_cola_v1", (1.0,)))])["a"]


def test_masked_lm_accuracy_has_wilsons_interval() -> None:
    # Newcombe (1998), table I: 81 of 263.
    record = make_record("a", make_task(70), accuracy=100 * 81 / 263)
    assert record.training is not None
    training = record.training.model_copy(update={"masked_lm_predictions": 263})
    found = estimates([record.model_copy(update={"training": training})])["a"]["masked_lm_accuracy"]
    low, high = found.interval or (0.0, 0.0)
    assert (round(low, 2), round(high, 2)) == (25.53, 36.62)


def test_published_numbers_have_no_noise_and_lend_none() -> None:
    published = make_record("p", make_task(90, half=None), kind="reported")
    with_it, without = estimates([*board(), published]), estimates(board())
    assert with_it["p"][SST2].run is None and with_it["p"][SST2].interval is None
    assert {name: with_it[name][SST2] for name in SEEDS} == {name: own[SST2] for name, own in without.items()}


def test_common_tasks_ignore_published_numbers_and_untested_systems() -> None:
    records = [
        make_record("a", make_task(70), make_task(60, "glue_rte_v1")),
        make_record("b", make_task(65), make_task(50, "glue_rte_v1"), make_task(40, "glue_cola_v1")),
        make_record("c", make_task(80), kind="reported"),
        make_record("d", kind="control"),
    ]
    assert [key.task for key in common_tasks(records)] == ["glue_rte_v1", "glue_sst2_v1"]
    assert common_tasks([]) == []


def test_scores_that_started_from_another_task_stand_alone() -> None:
    started = TaskRecipe(epochs=3.0, batch_size=32, learning_rate=3e-5, start="glue_mnli_matched_v1")
    plain = started.model_copy(update={"start": None})
    rte = [make_task(value, "glue_rte_v1", recipe=how) for value, how in ((60, plain), (70, started), (71, started))]
    records = [make_record(name, make_task(80), task) for name, task in zip("abc", rte, strict=True)]
    key, other = "glue_rte_v1.validation.accuracy", "glue_rte_v1.validation.accuracy.started-from-MNLI-m"
    found = estimates(records)
    assert [set(found[name]) & {key, other} for name in "abc"] == [{key}, {other}, {other}]
    # The mean has what all of them have.
    assert [key.task for key in common_tasks(records)] == ["glue_sst2_v1"]
    data = board_data(records, "t", None)
    labels = {quality["key"]: quality["label"] for quality in data["qualities"]}
    assert (labels[key], labels[other]) == ("RTE", "RTE (started from MNLI-m)")
    assert [row["tasks"][1]["key"] for row in data["rows"]] == [key, other, other]
    assert set(data["places"][key]) == {"a"} and set(data["places"][other]) == {"b", "c"}
    # Where all systems started alike the mean says so.
    assert board_data(records[1:], "t", None)["common_tasks"] == ["RTE (started from MNLI-m)", "SST-2"]
    assert f"{other}.run_low" in records_csv(records).splitlines()[0].split(",")
    averaged = records[0].model_copy(update={"averages": {"t5_8": 1.0, "t5_8_started": 2.0}})
    board = board_data([averaged], "t", None)["qualities"]
    words = {quality["key"]: quality["description"] for quality in board}
    assert words["average.t5_8"] == "average t5_8" and "another one" in words["average.t5_8_started"]


def test_noisy_seeds_tie_systems_whose_examples_would_not() -> None:
    quiet = {"a": (80.0, 80.1, 79.9), "b": (74.0, 74.1, 73.9)}
    noisy = {"a": (80.0, 90.0, 70.0), "b": (74.0, 84.0, 64.0)}
    for values, tied in ((quiet, False), (noisy, True)):
        records = [make_record(name, seeded("glue_sst2_v1", own, 1.5)) for name, own in values.items()]
        scores = {name: own[SST2] for name, own in estimates(records).items()}
        assert rank.tie_places(scores)["b"].tied == tied
        data = board_data(records, "t", None)
        assert (data["resolutions"][SST2] > 6.0) == tied
        assert len(data["rows"][0]["scores"][SST2]) == 5
