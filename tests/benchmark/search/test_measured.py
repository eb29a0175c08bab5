"""Searches whose latency is measured: what is measured, when, how often, and after kills."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmark.config import ConfigError, EncoderConfig, ExecutorConfig, SearchConfig
from benchmark.hardware.estimates import LatencyFailure, known_latency
from benchmark.models.formulas import num_parameters
from benchmark.search.feasibility import feasibility
from benchmark.search.journal import Journal
from benchmark.search.loop import run_search
from benchmark.search.measured import MeasuredLatency
from benchmark.search.results import history
from benchmark.search.space import decode, enumerate_points
from tasks.system.errors import StageError
from tests.helpers.searches import CONFIG, LATENCY, SPACE, accuracy, points_of, quiet, stable, threads

MEASURED = dataclasses.replace(CONFIG, latency_methods=("measured",))
ENCODERS = [decode(SPACE, point) for point in enumerate_points(SPACE)]


class Bench:
    """A machine that is 50 times as slow as the roofline, and more so for deep students, with noise of 10 %.

    Attributes:
        kept: what was measured; a killed search finds it again, as it does in its folder.
        calls: the architectures of each call that measured.
        busy: set while a trial trains.
    """

    def __init__(self, failing: frozenset[int] = frozenset()) -> None:
        self.kept: dict[EncoderConfig, float | LatencyFailure] = {}
        self.calls: list[list[EncoderConfig]] = []
        self.busy: set[int] = set()
        self.failing, self.noise = failing, random.Random(0)

    def __call__(self, encoders: Sequence[EncoderConfig]) -> list[float | LatencyFailure]:
        missing = [encoder for encoder in encoders if encoder not in self.kept]
        if missing:
            assert not self.busy, "measured beside a training"
            self.calls.append(missing)
        for encoder in missing:
            true = LATENCY.quick(encoder).latency_s * 50.0 * (1.0 + 0.1 * encoder.num_hidden_layers)
            refused = encoder.num_hidden_layers in self.failing
            self.kept[encoder] = LatencyFailure("no graph") if refused else true * self.noise.uniform(0.9, 1.1)
        return [self.kept[encoder] for encoder in encoders]

    @property
    def count(self) -> int:
        return sum(map(len, self.calls))

    def train(self, encoder: EncoderConfig, number: int) -> dict[str, float]:
        self.busy.add(number)
        try:
            return accuracy(encoder)
        finally:
            self.busy.remove(number)


def latency(bench: Bench, config: SearchConfig = MEASURED) -> MeasuredLatency:
    return MeasuredLatency(config, bench, "a laptop, 2 threads, xla")


def search(config: SearchConfig, path: Path, bench: Bench) -> list[Any]:
    with Journal(path) as journal:
        return run_search(config, journal, threads(bench.train), 0, quiet, latency(bench, config))


def test_quick_is_a_roofline_in_the_scale_of_one_measurement() -> None:
    bench = Bench()
    known = latency(bench)
    fastest = min(ENCODERS, key=lambda e: LATENCY.quick(e).latency_s)
    assert bench.count == 0
    measured = bench([fastest])[0]
    assert known.quick(fastest).latency_s == pytest.approx(measured)
    ratios = [known.quick(e).latency_s / LATENCY.quick(e).latency_s for e in ENCODERS]
    assert max(ratios) == pytest.approx(min(ratios)) and bench.calls == [[fastest]]
    (found,) = known.exact([fastest])
    assert (found.method, found.latency_s) == ("measured", measured)  # type: ignore[union-attr]
    assert known.method == "measured" and not known.only_a_rank


@pytest.mark.parametrize("algorithm", ["ax", "random", "nsga2"])
@pytest.mark.parametrize("parallel", [1, 2])
def test_the_objective_is_measured_once_for_about_each_trial(tmp_path: Path, algorithm: str, parallel: int) -> None:
    config = dataclasses.replace(MEASURED, algorithm=algorithm, num_trials=8, parallel_trials=parallel)
    bench = Bench()
    trials = search(config, tmp_path / "j", bench)
    assert len(trials) == 8 == len(set(points_of(trials)))
    for trial in trials:
        assert trial.result["latency_s"] == bench.kept[decode(SPACE, trial.point)]
        assert trial.result["latency_method"] == "measured"
        assert trial.result["latency_machine"] == "a laptop, 2 threads, xla"
    # One for the scale of the roofline, which may be a trial too.
    assert bench.count <= 8 + 1
    page = history(config, trials, "micro", "measured", "a laptop, 2 threads, xla")
    assert page["objectives"]["latency"]["chip"] == "a laptop, 2 threads, xla"


def test_trials_that_are_too_slow_once_measured_are_not_trained(tmp_path: Path) -> None:
    known = latency(Bench())
    threshold = sorted(known.quick(e).latency_s for e in ENCODERS)[18]
    config = dataclasses.replace(MEASURED, num_trials=27, latency_threshold_s=threshold)
    bench = Bench()
    trials = search(config, tmp_path / "j", bench)
    assert trials and all(t.result["latency_s"] < threshold for t in trials)
    slow = [seconds for seconds in bench.kept.values() if seconds >= threshold]  # type: ignore[operator]
    assert slow and bench.count == len(trials) + len(slow)


def test_a_killed_search_measures_nothing_twice_and_ends_like_another(tmp_path: Path) -> None:
    config = dataclasses.replace(MEASURED, algorithm="ax", num_trials=6)
    whole_bench, bench = Bench(), Bench()
    undisturbed = search(config, tmp_path / "whole", whole_bench)
    killed, kills = tmp_path / "killed", set()

    class Fragile(Journal):
        def _append(self, entry: dict[str, Any]) -> None:
            super()._append(entry)
            size = self.path.stat().st_size
            if size not in kills:
                kills.add(size)
                raise KeyboardInterrupt

    for _ in range(50):
        try:
            with Fragile(killed) as journal:
                trials = run_search(config, journal, threads(bench.train), 0, quiet, latency(bench))
            break
        except KeyboardInterrupt:
            continue
    assert len(kills) > 6
    assert trials == undisturbed or stable(killed) == stable(tmp_path / "whole")
    assert bench.calls == whole_bench.calls
    # A longer search goes on from there, and measures only what it adds.
    before = bench.count
    longer = search(dataclasses.replace(config, num_trials=8), killed, bench)
    assert [t.point for t in longer[:6]] == [t.point for t in trials] and len(longer) == 8
    assert bench.count <= before + 2 + 1


def test_attached_architectures_are_measured_before_the_first_of_them_trains(tmp_path: Path) -> None:
    config = dataclasses.replace(MEASURED, num_trials=4, attach=tuple(ENCODERS[5:8]))
    bench = Bench()
    trials = search(config, tmp_path / "j", bench)
    assert [t.generator for t in trials[:3]] == ["attach"] * 3
    assert ENCODERS[5:7] in bench.calls


def test_an_architecture_that_cannot_be_measured_is_a_failed_trial(tmp_path: Path) -> None:
    config = dataclasses.replace(MEASURED, algorithm="exhaustive", num_trials=27)
    trials = search(config, tmp_path / "j", Bench(frozenset({2})))
    failed = [t for t in trials if t.status == "failed"]
    assert {t.point["num_hidden_layers"] for t in failed} == {2} and len(failed) == 9
    assert {t.result["error"] for t in failed} == {"no graph"} and "latency_method" not in failed[0].result
    with pytest.raises(StageError, match="the shortest roofline has no latency: no graph"):
        search(config, tmp_path / "k", Bench(frozenset({1, 2, 3})))


def test_feasible_ones_are_counted_in_measured_seconds(tmp_path: Path) -> None:
    bench = Bench()
    known = latency(bench)
    seconds = sorted(known.quick(e).latency_s for e in ENCODERS)
    config = dataclasses.replace(MEASURED, latency_threshold_s=(seconds[9] + seconds[10]) / 2)
    found = feasibility(config, known)
    assert found is not None and (found.architectures, found.feasible) == (27, 10)
    too_fast = dataclasses.replace(MEASURED, latency_threshold_s=0.99 * seconds[0])
    with pytest.raises(StageError, match=rf"no valid point meets .*nearest: .* and {seconds[0]:.3g} s"):
        search(too_fast, tmp_path / "j", bench)
    assert bench.count == 1
    # The scale is measured on an architecture that the search may choose.
    sizes = sorted(map(num_parameters, ENCODERS))
    small = Bench()
    latency(small, dataclasses.replace(MEASURED, max_parameters=sizes[12])).quick(ENCODERS[-1])
    assert num_parameters(small.calls[0][0]) <= sizes[12]


def test_what_disturbs_a_measurement_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"latency_methods = \('measured', 'roofline'\): expected \('measured',\) alone"
    ):
        dataclasses.replace(CONFIG, latency_methods=("measured", "roofline"))
    with pytest.raises(ConfigError, match=r"SearchConfig\.asynchronous = True: expected False with latency_methods"):
        dataclasses.replace(MEASURED, asynchronous=True)
    assert dataclasses.replace(MEASURED, asynchronous=True, parallel_trials=1).measures_latency
    with pytest.raises(ConfigError, match=r"ExecutorConfig\.name = 'ray': expected 'local' with latency_methods"):
        dataclasses.replace(MEASURED, executor=ExecutorConfig(name="ray"))
    # Where nothing measures, no estimate of a chip takes its place.
    with pytest.raises(StageError, match="measured by the search of a run alone"):
        known_latency(MEASURED, None, quiet)
