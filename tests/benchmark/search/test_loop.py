"""The trial loop: points tried once, kills and resumes, proposals, results."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmark.config import ConfigError, EncoderConfig
from benchmark.hardware.estimates import Estimate, KnownLatency, LatencyFailure
from benchmark.search.architectures import Architectures
from benchmark.search.journal import Journal, Trial
from benchmark.search.loop import run_search
from benchmark.search.pareto import hypervolume, non_dominated
from benchmark.search.proposals import next_points, on_plateau
from benchmark.search.results import found_systems, history
from benchmark.search.space import architecture_hash, decode, enumerate_points
from tasks.system.errors import StageError
from tests.helpers.searches import (
    BASE,
    CONFIG,
    LATENCY,
    SPACE,
    accuracy,
    killed_at_every_event,
    points_of,
    quiet,
    stable,
    threads,
    whole,
)


def test_no_point_is_tried_twice_until_the_space_is_empty(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, num_trials=100)
    trials = run_search(config, Journal(tmp_path / "j"), threads(accuracy), 0, quiet)
    assert len(trials) == 27 == len(set(points_of(trials)))
    assert [t.generator for t in trials[:4]] == ["random"] * 4
    assert {t.generator for t in trials[4:]} == {"random"}
    # Once done, a second call has nothing to do.
    before = (tmp_path / "j").read_bytes()
    assert run_search(config, Journal(tmp_path / "j"), threads(accuracy), 0, quiet) == trials
    assert (tmp_path / "j").read_bytes() == before


def test_failed_trials_are_written_down_and_not_proposed_again(tmp_path: Path) -> None:
    def failing(encoder: EncoderConfig, number: int) -> dict[str, float]:
        if number == 1:
            raise RuntimeError("loss is nan\nat step 3")
        return accuracy(encoder) | ({"loss": float("nan")} if number == 2 else {})

    trials = run_search(CONFIG, Journal(tmp_path / "j"), threads(failing), 0, quiet)
    assert [t.status for t in trials[:4]] == ["completed", "failed", "failed", "completed"]
    assert trials[1].result["error"] == "loss is nan"
    assert trials[2].result["error"] == "loss is not a finite number"
    assert trials[1].result["latency_s"] > 0
    assert len(trials) == 9 == len(set(points_of(trials)))
    rows = history(CONFIG, trials, "micro")["trials"]
    assert (rows[1]["accuracy"], rows[1]["on_front"]) == (None, False)
    assert [r["hypervolume"] for r in rows] == sorted(r["hypervolume"] for r in rows)


def test_a_search_killed_at_every_event_ends_the_same(tmp_path: Path) -> None:
    undisturbed, killed, whole, path = killed_at_every_event(CONFIG, tmp_path)
    assert points_of(killed) == points_of(undisturbed)
    assert stable(path) == stable(whole)


def test_parallel_trials_do_not_change_a_journal(tmp_path: Path) -> None:
    # Within the initial design the proposals do not depend on results, so the number of threads must not show.
    config = dataclasses.replace(CONFIG, num_trials=4)
    run_search(config, Journal(tmp_path / "two"), threads(accuracy), 0, quiet)
    run_search(dataclasses.replace(config, parallel_trials=1), Journal(tmp_path / "one"), threads(accuracy), 0, quiet)
    finished = [[e for e in stable(tmp_path / name) if e["event"] == "completed"] for name in ("one", "two")]
    assert finished[0] == finished[1]


def test_ax_killed_at_every_event_ends_the_same(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, algorithm="ax", num_trials=6)
    undisturbed, killed, whole, path = killed_at_every_event(config, tmp_path)
    assert points_of(killed) == points_of(undisturbed)
    assert stable(path) == stable(whole)
    assert "ax" in {t.generator for t in killed[4:]}
    assert len(set(points_of(killed))) == 6


@pytest.mark.parametrize("algorithm", ["random", "ax"])
def test_more_trials_go_on_as_a_longer_search_would(tmp_path: Path, algorithm: str) -> None:
    config = dataclasses.replace(CONFIG, algorithm=algorithm, num_trials=8)
    run_search(config, Journal(tmp_path / "fresh"), threads(accuracy), 0, quiet)
    for num_trials in (4, 8):
        budget = dataclasses.replace(config, num_trials=num_trials)
        trials = run_search(budget, Journal(tmp_path / "grown"), threads(accuracy), 0, quiet)
        assert len(trials) == num_trials
    assert stable(tmp_path / "grown") == stable(tmp_path / "fresh")


def test_a_search_by_ranks_says_so(tmp_path: Path) -> None:
    told: list[str] = []
    config = dataclasses.replace(CONFIG, num_trials=1, latency_threshold_s=0.5)
    run_search(config, Journal(tmp_path / "ranks"), threads(accuracy), 0, told.append)
    assert any("latency_threshold_s = 0.5 is compared with ranks" in line for line in told)
    assert " ms (a rank), took " in told[-1]
    told.clear()
    fitted = dataclasses.replace(config, chip=dataclasses.replace(config.chip, op_overhead_s=1e-6))
    run_search(fitted, Journal(tmp_path / "times"), threads(accuracy), 0, told.append)
    assert not any("rank" in line for line in told)


def test_a_group_that_the_budget_cut_is_not_gone_on_from(tmp_path: Path) -> None:
    # Nine trials, two at a time: the ninth was proposed alone.
    run_search(CONFIG, Journal(tmp_path / "j"), threads(accuracy), 0, quiet)
    before = (tmp_path / "j").read_bytes()
    longer = dataclasses.replace(CONFIG, num_trials=12)
    with pytest.raises(
        StageError, match="num_trials = 12: the 9 trials of this folder end inside a group of parallel_tr"
    ):
        run_search(longer, Journal(tmp_path / "j"), threads(accuracy), 0, quiet)
    assert (tmp_path / "j").read_bytes() == before
    trials = run_search(
        dataclasses.replace(longer, asynchronous=True), Journal(tmp_path / "j"), threads(accuracy), 0, quiet
    )
    assert len(trials) == 12


def test_suggestions_that_are_known_or_invalid_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.search import algorithms

    architectures = Architectures(CONFIG, LATENCY)
    points = architectures.problem({}).pool.points
    result = {**accuracy(BASE), "latency_s": 1e-3}
    trials = [Trial(i, whole(point), "design", "completed", result) for i, point in enumerate(points[:4])]
    suggestions = [points[0], points[7], points[7], {**points[8], "num_feedforward_networks": 3}]
    asked: list[Any] = []

    def suggest(*arguments: Any) -> list[Any]:
        asked.append(arguments)
        return suggestions

    monkeypatch.setitem(algorithms.ALGORITHMS, "ax", suggest)
    config = dataclasses.replace(CONFIG, algorithm="ax")
    # The last one decodes, though its value is none of those listed: it is a point of another space.
    chosen = next_points(config, architectures, trials, 5, 3)
    assert chosen == [(points[7], "ax")]
    ((_, observations, running, count, seed),) = asked
    assert (len(observations), running, count, seed) == (4, [], 3, 5)
    suggestions[:] = suggestions[:1]
    ((point, generator),) = next_points(config, architectures, trials, 5, 1)
    assert (generator, point in points[4:]) == ("sobol", True)
    # Without a single completed trial there is nothing to learn from.
    asked.clear()
    for trial in trials:
        trial.status = "failed"
    assert next_points(config, architectures, trials, 5, 1)[0][1] == "sobol"
    assert not asked


def test_attached_architectures_are_tried_first(tmp_path: Path) -> None:
    points = enumerate_points(SPACE)
    attach = (decode(SPACE, points[13]), decode(SPACE, points[2]))
    config = dataclasses.replace(CONFIG, attach=attach, algorithm="nsga2", num_trials=6)
    trials = run_search(config, Journal(tmp_path / "j"), threads(accuracy), 0, quiet)
    assert [t.generator for t in trials[:4]] == ["attach", "attach", "design", "design"]
    assert points_of(trials[:2]) == [tuple(v for _, v in sorted(points[i].items())) for i in (13, 2)]
    assert len(set(points_of(trials))) == 6
    for encoder in (
        dataclasses.replace(BASE, num_feedforward_networks=3, intra_bottleneck_size=8, intermediate_size=8),
        dataclasses.replace(attach[0], vocab_size=51),
    ):
        with pytest.raises(ConfigError, match="SearchConfig.attach"):
            dataclasses.replace(CONFIG, attach=(encoder,))


def test_a_plateau_ends_the_search(tmp_path: Path) -> None:
    # Accuracy that does not depend on the student: once the fastest is known, nothing is gained.
    config = dataclasses.replace(CONFIG, algorithm="exhaustive", plateau_trials=3, num_trials=27, num_initial_trials=2)
    lines: list[str] = []
    flat = {"accuracy": 50.0, "accuracy_stderr": 0.5, "loss": 1.0}
    trials = run_search(config, Journal(tmp_path / "j"), threads(lambda encoder, number: flat), 0, lines.append)
    assert len(trials) == 6
    assert any("ends after 6 trials" in line for line in lines)
    # A resumed search does not continue; one with more patience does.
    assert len(run_search(config, Journal(tmp_path / "j"), threads(lambda encoder, number: flat), 0, quiet)) == 6
    assert not on_plateau(dataclasses.replace(config, plateau_trials=5), trials)
    assert not on_plateau(dataclasses.replace(config, plateau_trials=0), trials)
    assert not on_plateau(dataclasses.replace(config, plateau_gain=0.0), trials)
    assert on_plateau(dataclasses.replace(config, plateau_trials=2), trials)


class Compiled(KnownLatency):
    """Exact latencies that are three times the quick ones, more for deep students; some have none."""

    def __init__(self, refused: frozenset[int] = frozenset()) -> None:
        super().__init__(CONFIG, None)
        self.method = "compiled"
        self.asked: list[EncoderConfig] = []
        self.refused = refused

    def exact(self, encoders: Sequence[EncoderConfig]) -> list[Estimate | LatencyFailure]:
        self.asked += encoders
        return [
            LatencyFailure("does not fit")
            if e.num_hidden_layers in self.refused
            else Estimate("compiled", self.quick(e).latency_s * (3.0 + e.num_hidden_layers))
            for e in encoders
        ]


@pytest.mark.parametrize("algorithm", ["ax", "random"])
def test_no_point_is_proposed_by_a_quick_latency(tmp_path: Path, algorithm: str) -> None:
    config = dataclasses.replace(CONFIG, algorithm=algorithm, num_trials=8, parallel_trials=1)
    latency = Compiled()
    asked: dict[int, int] = {}

    def evaluate(encoder: EncoderConfig, number: int) -> dict[str, float]:
        asked[number] = latency.asked.index(encoder)
        return accuracy(encoder)

    trials = run_search(config, Journal(tmp_path / "j"), threads(evaluate), 0, quiet, latency)
    assert len(asked) == len(trials) == 8 == len(set(points_of(trials)))
    for trial in trials:
        encoder = decode(SPACE, trial.point)
        assert trial.result["latency_s"] == latency.quick(encoder).latency_s * (3 + encoder.num_hidden_layers)
    # From the same trials comes the same choice, whatever was asked for before.
    for count in (5, 7):
        choices = [
            next_points(config, Architectures(config, some), trials[:count], 0, 1) for some in (latency, Compiled())
        ]
        assert choices[0] == choices[1] == [(trials[count].point, trials[count].generator)]


def test_a_latency_that_cannot_be_had_is_a_failed_trial(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, algorithm="exhaustive", num_trials=27)
    trials = run_search(config, Journal(tmp_path / "j"), threads(accuracy), 0, quiet, Compiled(frozenset({2})))
    failed = [t for t in trials if t.status == "failed"]
    assert {t.point["num_hidden_layers"] for t in failed} == {2} and len(failed) == 9
    assert {t.result["error"] for t in failed} == {"does not fit"}
    assert len(set(points_of(trials))) == 27


def test_points_slower_than_the_threshold_are_dropped_once_that_is_known() -> None:
    slowest = max(LATENCY.quick(decode(SPACE, p)).latency_s for p in enumerate_points(SPACE))
    config = dataclasses.replace(CONFIG, algorithm="exhaustive", latency_threshold_s=4.5 * slowest)
    chosen = next_points(config, Architectures(config, Compiled()), [], 0, 27)
    for point, _ in chosen:
        encoder = decode(SPACE, whole(point))
        assert LATENCY.quick(encoder).latency_s * (3 + encoder.num_hidden_layers) < config.latency_threshold_s
    assert 9 <= len(chosen) < 27


def completed(values: list[tuple[float, float]]) -> list[Trial]:
    points = enumerate_points(SPACE)
    return [
        Trial(i, whole(points[i]), "sobol", "completed", {"accuracy": a, "latency_s": t})
        for i, (a, t) in enumerate(values)
    ]


def test_found_systems_are_front_members() -> None:
    # The second is beaten by the first; the third adds most area, then the first.
    trials = completed([(40.0, 0.1), (30.0, 0.2), (60.0, 0.11), (5.0, 0.02)])
    trials.append(Trial(4, whole(enumerate_points(SPACE)[4]), "ax", "failed", {"error": "x", "latency_s": 1e-3}))
    expected = {n: [trials[2], trials[3], trials[0]][:n] for n in (1, 2, 3, 9)}
    for count, wanted in expected.items():
        found = found_systems(dataclasses.replace(CONFIG, num_found=count), trials)
        assert {encoder for _, encoder in found} == {decode(SPACE, t.point) for t in wanted}
        assert all(name == f"found-{architecture_hash(encoder)[:8]}" for name, encoder in found)
    assert found_systems(CONFIG, trials)[0][1] == decode(SPACE, trials[2].point)
    with pytest.raises(StageError, match="no trial completed"):
        found_systems(CONFIG, trials[-1:])


def test_history_marks_the_front(tmp_path: Path) -> None:
    trials = run_search(CONFIG, Journal(tmp_path / "j"), threads(accuracy), 0, quiet)
    page = history(CONFIG, trials, "micro")
    json.dumps(page, allow_nan=False)
    front = non_dominated([(t.result["accuracy"], t.result["latency_s"]) for t in trials])
    assert [row["on_front"] for row in page["trials"]] == front
    pairs = [(t.result["accuracy"], t.result["latency_s"]) for t in trials]
    assert page["trials"][-1]["hypervolume"] == pytest.approx(hypervolume(pairs, 1.0, 1.0))
