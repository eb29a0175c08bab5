"""Trials that are stopped at rungs: the rule, the model's view of them, and searches that are killed and resumed."""

from __future__ import annotations

import dataclasses
import json
import random
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.config import SearchConfig, encoder_from_dict
from benchmark.search import halving
from benchmark.search.executors import LocalExecutor
from benchmark.search.journal import Journal, Trial, read_trials
from benchmark.search.loop import run_search
from benchmark.search.pareto import hypervolume, non_dominated
from benchmark.search.results import found_systems, history
from benchmark.search.space import architecture_hash
from tests.helpers.search_problems import flash_table
from tests.helpers.searches import CONFIG, killed_at_every_event, quiet, stable
from tests.performance.flash_table import FRACTIONS

RUNGS = dataclasses.replace(CONFIG, num_trials=27, rungs=(0.25, 0.5), reduction_factor=3.0)
CONFIG_OF_ALL = dataclasses.replace(RUNGS, rungs=())
PAIRS = st.lists(st.tuples(st.integers(2, 9).map(float), st.integers(1, 8).map(lambda n: n / 10)), max_size=12)


def in_parts(job: dict[str, Any]) -> dict[str, float]:
    """A fake trial of chance accuracy, so that most are beaten; with a share of its steps it has that share of it."""
    whole = 10.0 + 80.0 * int(architecture_hash(encoder_from_dict(job["encoder"]))[:4], 16) / 0xFFFF
    fraction = job["fraction"]
    return {"accuracy": whole * fraction, "accuracy_stderr": 0.5, "steps": 100 * fraction}


@given(earlier=PAIRS, own=st.tuples(st.integers(2, 9).map(float), st.integers(1, 8).map(lambda n: n / 10)))
def test_the_best_go_on(earlier: list[tuple[float, float]], own: tuple[float, float]) -> None:
    promoted = halving.is_promoted(RUNGS, earlier, own)
    everybody = [*earlier, own]
    if non_dominated(everybody)[-1]:
        assert promoted
    # A trial that two thirds of all dominate is stopped; with a factor of 1 every trial is promoted.
    beaten_by = sum(a >= own[0] and t <= own[1] and (a, t) != own for a, t in earlier)
    if beaten_by >= -(-len(everybody) // 3):
        assert promoted == non_dominated(everybody)[-1]
    assert halving.is_promoted(dataclasses.replace(RUNGS, reduction_factor=1.0), earlier, own)


def test_a_rule_worked_out_by_hand() -> None:
    config = dataclasses.replace(RUNGS, reduction_factor=2.0)
    first, second, last = [(50.0, 0.1), (60.0, 0.2)], [(40.0, 0.15), (55.0, 0.3)], (30.0, 0.4)
    # Promoted are three of five: the first front, and the member of the second that adds more (5.9 against 3.9).
    assert halving.is_promoted(config, [*first, second[1], last], second[0])
    assert not halving.is_promoted(config, [*first, second[0], last], second[1])
    assert not halving.is_promoted(config, [*first, *second], last)


def test_hopeless_trials_are_stopped(tmp_path: Path) -> None:
    trials = run_search(RUNGS, Journal(tmp_path / "j"), LocalExecutor(in_parts, 2), 0, quiet)
    whole = run_search(CONFIG_OF_ALL, Journal(tmp_path / "all"), LocalExecutor(in_parts, 2), 0, quiet)
    stopped = [t for t in trials if t.status == "stopped"]
    assert {t.status for t in trials} == {"completed", "stopped"}
    assert {len(t.rungs) for t in stopped} == {1, 2}
    assert all(len(t.rungs) == 2 for t in trials if t.status == "completed")
    # No point of the true front was stopped, and the steps are those of the shares.
    front = {row["trial"] for row in history(CONFIG_OF_ALL, whole, "micro")["trials"] if row["on_front"]}
    by_point = {str(sorted(t.point.items())): t for t in trials}
    assert all(by_point[str(sorted(whole[n].point.items()))].status == "completed" for n in front)
    spent = sum({1: 25, 2: 50}[len(t.rungs)] if t.status == "stopped" else 100 for t in trials)
    assert halving.steps_trained(trials) == spent < 0.7 * halving.steps_trained(whole)
    # Only equal budgets are compared in the end.
    rows = history(RUNGS, trials, "micro")["trials"]
    assert not any(row["on_front"] for row in rows if row["status"] == "stopped")
    assert {e for _, e in found_systems(RUNGS, trials)} == {e for _, e in found_systems(CONFIG_OF_ALL, whole)}
    json.dumps(rows, allow_nan=False)


def test_a_search_with_rungs_killed_at_every_event_ends_the_same(tmp_path: Path) -> None:
    config = dataclasses.replace(RUNGS, num_trials=9)
    undisturbed, killed, whole, path = killed_at_every_event(config, tmp_path, in_parts)
    assert "stopped" in {t.status for t in undisturbed}
    assert [t.status for t in killed] == [t.status for t in undisturbed]
    assert stable(path) == stable(whole)
    assert read_trials(path) == killed


def test_what_is_learnt_from_stopped_trials() -> None:
    def rung(value: float) -> dict[str, float]:
        return {"accuracy": value, "accuracy_stderr": 0.3}

    trials = [
        Trial(0, {}, "x", "completed", rung(50.0), [rung(20.0), rung(30.0)]),
        Trial(1, {}, "x", "completed", rung(60.0), [rung(26.0), rung(32.0)]),
        Trial(2, {}, "x", "stopped", rung(10.0), [rung(10.0)]),
        Trial(3, {}, "x", "stopped", rung(12.0), [rung(9.0), rung(12.0)]),
        Trial(4, {}, "x", "failed", {"error": "x"}, [rung(9.0)]),
        Trial(5, {}, "x", "running"),
    ]
    found = halving.outcomes(CONFIG, trials)
    assert set(found) == {0, 1, 2, 3}
    assert (found[0], found[1]) == ((50.0, 0.3), (60.0, 0.3))
    # Gains of 30 and 34 from the first rung on, of 20 and 28 from the second.
    assert found[2] == pytest.approx((42.0, (0.3**2 + 8.0) ** 0.5))
    assert found[3] == pytest.approx((36.0, (0.3**2 + 32.0) ** 0.5))
    assert halving.outcomes(CONFIG, trials[2:]) == {}


def test_asynchronous_trials_give_the_same_trials_one_at_a_time(tmp_path: Path) -> None:
    config = dataclasses.replace(RUNGS, num_trials=9, parallel_trials=1)
    one = run_search(config, Journal(tmp_path / "one"), LocalExecutor(in_parts, 1), 0, quiet)
    two = run_search(
        dataclasses.replace(config, asynchronous=True), Journal(tmp_path / "two"), LocalExecutor(in_parts, 1), 0, quiet
    )
    assert [(t.point, t.status) for t in one] == [(t.point, t.status) for t in two]
    # With several at a time all are tried, each once, and none waits for another.
    config = dataclasses.replace(config, asynchronous=True, parallel_trials=4, num_trials=27)
    many = run_search(config, Journal(tmp_path / "many"), LocalExecutor(in_parts, 4), 0, quiet)
    assert len({str(sorted(t.point.items())) for t in many}) == 27
    assert {t.status for t in many} == {"completed", "stopped"}


def replayed(config: SearchConfig, order: list[dict[str, float]]) -> tuple[list[dict[str, float]], float]:
    """Outcomes of recorded trainings in this order after halving, and the share of all steps that they take."""
    seen: list[list[tuple[float, float]]] = [[] for _ in config.rungs]
    kept, steps = [], 0.0
    for row in order:
        for number, fraction in enumerate(config.rungs):
            own = row[FRACTIONS[fraction]], row["latency_s"]
            promoted = halving.is_promoted(config, seen[number], own)
            seen[number].append(own)
            if not promoted:
                steps += fraction
                break
        else:
            steps += 1.0
            kept.append(row)
    return kept, steps / len(order)


def test_half_of_the_steps_find_the_front_of_real_trainings() -> None:
    """Recorded flash distillations with a TPU's latencies, in ten orders: the median."""
    table = list(flash_table().values())
    config = dataclasses.replace(
        CONFIG, rungs=(0.25,), reduction_factor=4.0, accuracy_threshold=5.0, latency_threshold_s=2e-3
    )

    def volume(rows: list[dict[str, float]]) -> float:
        return hypervolume([(row["accuracy"], row["latency_s"]) for row in rows], 5.0, 2e-3)

    shares, spent = [], []
    for seed in range(10):
        order = random.Random(seed).sample(table, len(table))
        kept, steps = replayed(config, order)
        shares.append(volume(kept) / volume(table))
        spent.append(steps)
    assert statistics.median(spent) <= 0.5
    assert statistics.median(shares) >= 0.995
    # Without a rule the same steps, spent on the first half of the trials, find less.
    halves = [volume(random.Random(seed).sample(table, len(table))[: len(table) // 2]) for seed in range(10)]
    assert statistics.median(shares) > statistics.median(halves) / volume(table)
