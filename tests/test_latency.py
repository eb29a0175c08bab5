"""The latency protocol on functions of known duration, failing children, and one small real measurement."""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from benchmark.config import LatencyConfig, to_dict
from benchmark.hardware import latency
from benchmark.hardware.latency import LatencyError, Measurement, measure, noise_floor, speedup, time_pairs, warm_up
from tests.encoders import small_encoder

TINY = small_encoder(
    vocab_size=20, hidden_size=8, num_attention_heads=1, intermediate_size=8, max_position_embeddings=8
)
CONFIG = LatencyConfig(reference=TINY, sequence_length=8, processes=1, pairs=10, min_seconds=0.0, timeout_s=120.0)


class Clock:
    """A clock that moves only when a timed function runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.calls: list[tuple[str, int]] = []
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def function(self, name: str, seconds: Callable[[int], float]) -> Callable[[int], int]:
        """A function of known duration; it notes its calls."""

        def run(i: int) -> int:
            duration = seconds(sum(called == name for called, _ in self.calls))
            self.calls.append((name, i))
            self.now += duration
            return round(duration * 1e9)

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_warm_up_stops_when_calm(clock: Clock) -> None:
    # The first block sets the mark and counts as an improvement; two calm blocks follow.
    assert warm_up(clock.function("f", lambda call: 0.001)) == 30
    assert [i for _, i in clock.calls] == list(range(30))


def test_warm_up_goes_on_while_it_gets_faster(clock: Clock) -> None:
    assert warm_up(clock.function("f", lambda call: 0.001 if call >= 50 else 0.1 / (1 + call))) > 50


def test_warm_up_gives_up_after_its_time(clock: Clock) -> None:
    # Ever faster, and never done: the time limit ends it, after at least 20 calls.
    assert warm_up(clock.function("f", lambda call: 10.0 * 0.5 ** (call // 10)), max_seconds=1.0) == 20


def test_pairs_are_in_abba_order(clock: Clock) -> None:
    ours, theirs = time_pairs(clock.function("A", lambda call: 0.001), clock.function("B", lambda call: 0.002), 4, 0.0)
    assert "".join(name for name, _ in clock.calls) == "ABBAABBA"
    # Both sides of a pair get the same input.
    assert [i for _, i in clock.calls] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (ours, theirs) == ([1_000_000] * 4, [2_000_000] * 4)


def test_pairs_last_for_the_minimum_time(clock: Clock) -> None:
    ours, theirs = time_pairs(clock.function("A", lambda call: 0.1), clock.function("B", lambda call: 0.1), 2, 1.0)
    assert len(ours) == len(theirs) >= 5


def measurement(ratios: list[list[float]]) -> Measurement:
    candidate = [[1000] * len(process) for process in ratios]
    return Measurement(candidate, [[round(1000 * r) for r in process] for process in ratios], 20)


def test_speedup_of_known_ratios() -> None:
    # Medians 2 and 8 have the geometric mean 4; a slow pair does not move its process's median.
    value, (low, high) = speedup(measurement([[2.0, 2.0, 50.0], [8.0, 8.0, 0.1]]))
    assert value == pytest.approx(4.0)
    # Student's t with one degree of freedom at 97.5 % is 12.706; the logarithms 0.693 and 2.079 deviate by 0.980.
    half = 12.7062 * np.std(np.log([2.0, 8.0]), ddof=1) / np.sqrt(2)
    assert np.log([low, high]) == pytest.approx([np.log(4.0) - half, np.log(4.0) + half], rel=1e-4)


def test_speedup_of_one_process_spans_its_quartiles() -> None:
    value, interval = speedup(measurement([[1.0, 2.0, 3.0, 4.0, 5.0]]))
    assert value == pytest.approx(3.0)
    assert interval == pytest.approx((2.0, 4.0))


def test_statistics_do_not_depend_on_the_order_of_processes() -> None:
    ratios = np.random.default_rng(0).uniform(1.0, 3.0, (4, 9)).tolist()
    one, two = measurement(ratios), measurement(ratios[::-1])
    assert speedup(one)[0] == pytest.approx(speedup(two)[0])
    assert speedup(one)[1] == pytest.approx(speedup(two)[1])
    assert noise_floor(one) == noise_floor(two)


def test_noise_floor() -> None:
    assert noise_floor(measurement([[1.0] * 20, [1.0] * 20])) == 0.0
    assert noise_floor(measurement([[1.1] * 20])) == pytest.approx(np.log(1.1), rel=1e-3)
    wide = np.random.default_rng(0).uniform(0.5, 2.0, (2, 30)).tolist()
    assert noise_floor(measurement(wide)) > 0.01


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import sys; sys.stdin.read(); print('first', file=sys.stderr); sys.exit('out of memory')",
            "1: out of memory",
        ),
        ("import os; os.kill(os.getpid(), 9)", "-9: no message"),
    ],
)
def test_a_child_that_dies(monkeypatch: pytest.MonkeyPatch, code: str, said: str) -> None:
    replace_child(monkeypatch, code)
    with pytest.raises(LatencyError) as caught:
        measure({}, CONFIG, lambda line: None)
    assert str(caught.value) == f"latency: the measuring process ended with code {said}"


def test_a_child_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_child(monkeypatch, "import time; time.sleep(60)")
    with pytest.raises(LatencyError, match=r"^latency: the measuring process took more than timeout_s = 1 s$"):
        measure({}, dataclasses.replace(CONFIG, timeout_s=1.0), lambda line: None)


def test_a_child_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_child(monkeypatch, "import sys; sys.stdin.read()")
    with pytest.raises(LatencyError, match=r"^latency: the measuring process gave no samples$"):
        measure({}, CONFIG, lambda line: None)


def replace_child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Lets `measure` start a small program instead of the measuring child."""
    original = subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        return original([sys.executable, "-c", code], **options)

    monkeypatch.setattr(subprocess, "run", run)


def test_nothing_is_compiled_while_samples_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    timed: list[tuple[int, int]] = []

    def note(event: str, duration_secs: float, **details: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            compiled.append(event)

    def pairs(*arguments: Any) -> tuple[list[int], list[int]]:
        before = len(compiled)
        samples = time_pairs(*arguments)
        timed.append((before, len(compiled)))
        return samples

    monkeypatch.setattr(latency, "time_pairs", pairs)
    other = dataclasses.replace(TINY, hidden_size=12)
    request = {"encoders": {"": to_dict(TINY), "other": to_dict(other)}, "config": to_dict(CONFIG)}
    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        latency.run_child(json.dumps(request))
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    # The listener hears the compiler, and heard it before each window and never within one.
    (first, first_end), (second, second_end) = timed
    assert 0 < first == first_end < second == second_end == len(compiled)


def test_one_real_measurement() -> None:
    lines: list[str] = []
    result = measure({"tiny": TINY}, CONFIG, lines.append)
    assert sorted(result) == ["", "tiny"]
    for one in result.values():
        assert len(one.samples_ns) == len(one.reference_samples_ns) == 1
        assert len(one.samples_ns[0]) == len(one.reference_samples_ns[0]) >= 10
        assert min(one.samples_ns[0]) > 0
        assert one.warmup_calls >= 20
    assert len(lines) == 1
    assert lines[0].startswith("latency: process 1/1 in ")
