"""Analyses of a finished search: front under noise, importance, predictions, tables."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from benchmark.config import SearchConfig
from benchmark.hardware.estimates import known_latency
from benchmark.models.formulas import num_parameters
from benchmark.records.history import parse_history
from benchmark.records.history_tables import tables
from benchmark.search import gaussian_process
from benchmark.search.analysis import DRAWS, EXPECTED_GAIN, analyse, front_under_noise
from benchmark.search.architectures import Architectures
from benchmark.search.journal import Trial
from benchmark.search.pareto import hypervolume, non_dominated
from benchmark.search.problem import Field, Objective, Observation, Problem
from benchmark.search.results import history
from benchmark.search.space import decode, enumerate_points
from tasks.system.repository import REPOSITORY
from tests.helpers import searches

SPACE = dataclasses.replace(searches.SPACE, num_hidden_layers=(1, 2, 3, 4))
CONFIG = dataclasses.replace(searches.CONFIG, space=SPACE, algorithm="ax", num_trials=8)
LATENCY = known_latency(CONFIG, None, lambda line: None)
PROBLEM = Architectures(CONFIG, LATENCY).problem({})

# --- the front under noise ---

outcomes = st.lists(
    st.tuples(st.integers(0, 100).map(float), st.just(0.0), st.sampled_from([0.001, 0.01, 0.02, 0.05, 0.5])),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(outcomes, st.sampled_from([0.0, 40.0, 100.0]), st.sampled_from([0.04, 1.0]))
def test_without_noise_the_front_is_certain(
    rows: list[tuple[float, float, float]], threshold: float, slowest: float
) -> None:
    pairs = [(accuracy, latency) for accuracy, _, latency in rows]
    probabilities, interval = front_under_noise(rows, threshold, slowest, 0)
    assert probabilities == [float(member) for member in non_dominated(pairs)]
    assert interval == pytest.approx([hypervolume(pairs, threshold, slowest)] * 2, abs=1e-12)


def test_the_chances_of_a_front_are_those_of_the_integral() -> None:
    rows = [(50.0, 1.0, 0.002), (51.0, 0.5, 0.004), (50.5, 2.0, 0.003), (49.0, 1.5, 0.004)]

    def chance(row: int) -> float:
        mean, error, latency = rows[row]
        rivals = [r for i, r in enumerate(rows) if i != row and r[2] <= latency]

        def density(value: float) -> float:
            below = math.prod(float(stats.norm.cdf(value, m, e)) for m, e, _ in rivals)
            return float(stats.norm.pdf(value, mean, error)) * below

        return float(integrate.quad(density, mean - 9 * error, mean + 9 * error)[0])

    found, _ = front_under_noise(rows, 0.0, 1.0, 5)
    assert found == pytest.approx([chance(row) for row in range(4)], abs=4 * 0.5 / math.sqrt(DRAWS))
    assert found[0] == 1.0, "nothing is faster"
    assert front_under_noise(rows, 0.0, 1.0, 5)[0] == found


def test_the_interval_of_one_trial_is_that_of_its_accuracy() -> None:
    (probability,), (low, high) = front_under_noise([(60.0, 2.0, 0.1)], 20.0, 1.0, 3)
    ends = [hypervolume([(float(stats.norm.ppf(q, 60.0, 2.0)), 0.1)], 20.0, 1.0) for q in (0.025, 0.975)]
    assert probability == 1.0 and (low, high) == pytest.approx(ends, abs=1e-3)
    assert front_under_noise([(60.0, 2.0, 2.0)], 20.0, 1.0, 3)[1] == (0.0, 0.0), "slower than the threshold"


# --- predictions ---


def test_leaving_one_out_is_learning_from_the_others() -> None:
    generator = np.random.default_rng(2)
    x, noise = generator.uniform(-0.5, 0.5, (9, 3)), generator.uniform(0.01, 0.2, 9)
    process = gaussian_process.fit(x, x @ [3.0, -1.0, 0.5] + generator.normal(0, noise), noise)
    means, deviations = process.leave_one_out()
    for row in range(9):
        kept = np.arange(9) != row
        others = dataclasses.replace(process, x=x[kept], y=process.y[kept], noise=process.noise[kept])
        mean, deviation = others.predict(x[row : row + 1])
        assert (means[row], deviations[row]) == pytest.approx((mean[0], deviation[0]), rel=1e-6)


def known_problem(best: float | None, maximize: bool) -> Problem:
    return Problem(
        fields=(Field("depth", (1, 2, 4, 8)), Field("width", (16, 32, 64)), Field("idle", (1, 2, 3))),
        objectives=(
            Objective("score", 0.0 if maximize else 100.0, maximize, best),
            Objective("cost", 1e4, log=True, known=True),
        ),
        describe=lambda point: {"cost": float(point["depth"]) * float(point["width"])},
    )


def score(point: Any) -> float:
    """Rises with depth and width, not with the idle field."""
    return 40 + 5 * math.log2(point["depth"]) + 5 * math.log2(point["width"] / 16)


def observations(problem: Problem, noise: float, sign: float = 1.0, every: int = 2) -> list[Observation]:
    generator = np.random.default_rng(4)
    return [
        Observation(p, {"score": (sign * score(p) + float(generator.normal(0, noise)), noise)})
        for p in problem.pool.points[::every]
    ]


@pytest.mark.parametrize(("best", "maximize"), [(100.0, True), (None, True), (None, False), (-100.0, False)])
def test_our_model_predicts_what_it_was_not_told(best: float | None, maximize: bool) -> None:
    from benchmark.search import expected_gain

    problem = known_problem(best, maximize)
    sign = 1.0 if maximize else -1.0
    seen = observations(problem, 0.3, sign)
    found = expected_gain.leave_one_out(problem, [*seen, Observation(problem.pool.points[1])])
    assert set(found) == {problem.key(o.point) for o in seen}
    away = [(found[problem.key(o.point)][0] - sign * score(o.point)) for o in seen]
    assert np.sqrt(np.mean(np.square(away))) < 1.5 < np.std([score(o.point) for o in seen]) / 3
    assert all(0 < deviation < 10 for _, deviation in found.values())


def test_ax_finds_the_shares_of_variance() -> None:
    """An additive function of evenly spread logarithms: each index is a squared range among the squared ranges."""
    from benchmark.search import ax_analysis

    problem = known_problem(100.0, True)
    importances, predicted = ax_analysis.analyses(problem, observations(problem, 0.05, every=1), 0)
    assert importances is not None
    assert [i.field for i in importances] == ["depth", "width", "idle"]
    parts = [(5 * math.log2(8)) ** 2, (5 * math.log2(4)) ** 2, 0.0]
    for importance, part in zip(importances, parts, strict=True):
        assert importance.first_order == pytest.approx(part / sum(parts), abs=0.05)
        assert importance.total_order == pytest.approx(part / sum(parts), abs=0.05)
    assert [i.effect for i in importances] == ["rises", "rises", "none"]
    away = [predicted[problem.key(p)][0] - score(p) for p in problem.pool.points]
    assert len(predicted) == len(away) and np.sqrt(np.mean(np.square(away))) < 0.5


# --- the whole analysis ---


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes Sobol indices rough and quick."""
    monkeypatch.setattr("benchmark.search.ax_analysis._DRAWN", 256)


def make_trials(count: int, accuracy: Any = None) -> list[Trial]:
    """Trials of every fourth point, one of which failed."""
    trials = []
    for number, point in enumerate(itertools.islice(enumerate_points(SPACE)[::4], count)):
        encoder = decode(SPACE, point)
        depth = encoder.num_hidden_layers
        result = {"parameters": num_parameters(encoder), "seconds": 1.0, "suggest_seconds": 0.1, "steps": 5.0}
        result["latency_s"] = LATENCY.quick(encoder).latency_s
        if number != 1:
            result |= {"accuracy": accuracy or 30 + 5 * math.log2(depth) + 0.3 * number, "accuracy_stderr": 0.4}
        trials.append(Trial(number, dict(point), "ax", "failed" if number == 1 else "completed", result))
    return trials


def whole(trials: list[Trial], config: SearchConfig = CONFIG) -> dict[str, Any]:
    return history(config, trials, "micro") | {"analysis": analyse(config, PROBLEM, trials, 0)}


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.usefixtures("few_draws")
def test_a_search_is_analysed_and_written_as_tables() -> None:
    trials = make_trials(9)
    found = whole(trials)
    analysis = parse_history(found).analysis
    assert analysis is not None and analysis.notes == []
    done = [t.number for t in trials if t.status == "completed"]
    assert [m.trial for m in analysis.front] == done
    assert [(p.model, p.proposes) for p in analysis.predictions] == [(EXPECTED_GAIN, True), ("ax", False)]
    assert all(sorted(row.trial for row in p.trials) == done for p in analysis.predictions)
    assert analysis.importance is not None and analysis.importance[0].effect == "rises"
    assert found == whole(trials), "the same every time"

    files = {name: rows(text) for name, text in tables(found).items()}
    assert [int(row["trial"]) for row in files["trials.csv"]] == list(range(9))
    for row, trial in zip(files["trials.csv"], found["trials"], strict=True):
        assert row["num_hidden_layers"] == str(trial["encoder"]["num_hidden_layers"])
        assert row["accuracy"] == ("" if trial["accuracy"] is None else repr(trial["accuracy"]))
        assert (row["front_probability"] == "") == (trial["status"] == "failed")
    front = files["front.csv"]
    assert {int(row["trial"]) for row in front} == {t["trial"] for t in found["trials"] if t["on_front"]}
    assert [float(r["latency_s"]) for r in front] == sorted(float(r["latency_s"]) for r in front)
    assert [row["field"] for row in files["importance.csv"]] == list(found["search_fields"])
    assert len(files["predictions.csv"]) == 2 * len(done)
    by_number = {t["trial"]: t for t in found["trials"]}
    for row in files["predictions.csv"]:
        assert float(row["observed"]) == by_number[int(row["trial"])]["accuracy"]


@pytest.mark.usefixtures("few_draws")
def test_a_search_by_another_algorithm_was_not_led_by_a_model() -> None:
    analysis = whole(make_trials(9), dataclasses.replace(CONFIG, algorithm="random"))["analysis"]
    assert [(p["model"], p["proposes"]) for p in analysis["predictions"]] == [("ax", False)]


@pytest.mark.usefixtures("few_draws")
def test_what_cannot_be_said_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    few = whole(make_trials(4))
    assert few["analysis"]["notes"] == ["Importance and predictions need 5 completed trials, not 3."]
    assert (few["analysis"]["importance"], few["analysis"]["predictions"]) == (None, [])
    assert len(few["analysis"]["front"]) == 3 and few["analysis"]["hypervolume"] is not None
    nothing = whole(make_trials(2)[1:])
    assert (nothing["analysis"]["front"], nothing["analysis"]["hypervolume"]) == ([], None)

    flat = whole(make_trials(7, accuracy=40.0))
    assert flat["analysis"]["notes"] == ["No importance: Ax's model predicts the same accuracy everywhere."]
    assert flat["analysis"]["importance"] is None
    for model in flat["analysis"]["predictions"]:
        assert all(abs(row["mean"] - 40.0) < 0.5 * row["stderr"] < 2.0 for row in model["trials"])
        assert all(row["stderr"] > 0.1 for row in model["trials"]), "no certainty from equal numbers"

    def fails(*_: object) -> None:
        raise RuntimeError("the matrix\nis singular")

    with monkeypatch.context() as patch:
        patch.setattr("benchmark.search.ax_analysis.analyses", fails)
        broken = whole(make_trials(7))
    assert broken["analysis"]["notes"] == ["No analysis by Ax's model: the matrix is singular"]
    assert [p["model"] for p in broken["analysis"]["predictions"]] == [EXPECTED_GAIN]

    for found in (few, nothing, flat, broken):
        parse_history(found)
        assert set(tables(found)) == {"trials.csv", "front.csv", "importance.csv", "predictions.csv"}


def test_hosts_without_models_finish_a_search() -> None:
    code = (
        "import sys\n"
        "for name in ('ax', 'threadpoolctl'):\n"
        "    sys.modules[name] = None\n"
        "from tests.benchmark.search import test_analysis as t\n"
        "analysis = t.analyse(t.CONFIG, t.PROBLEM, t.make_trials(9), 0)\n"
        "print(analysis['notes'], analysis['predictions'], len(analysis['front']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    notes = [
        f"No analysis by {model}: it needs threadpoolctl, which is not installed."
        for model in ("our model", "Ax's model")
    ]
    assert done.stdout.strip() == f"{notes} [] 8"


def test_older_histories_have_tables_too() -> None:
    old = history(CONFIG, make_trials(4), "micro")
    assert parse_history(old).analysis is None
    files = tables(old)
    assert rows(files["trials.csv"])[0]["front_probability"] == ""
    assert rows(files["importance.csv"]) == rows(files["predictions.csv"]) == []
