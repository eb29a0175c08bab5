"""The timing loops on functions of known duration, and windows in which something compiles."""

import gc
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest

from benchmark.latency.timing import LatencyError, time_pairs, timed_window, warm_up


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
    done = warm_up(clock.function("f", lambda call: 0.001), 10.0, first=4)
    assert (done.calls, done.settled) == (30, True)
    assert done.seconds == pytest.approx(0.03)
    assert [i for _, i in clock.calls] == list(range(4, 34))


def test_warm_up_continues_while_it_gets_faster(clock: Clock) -> None:
    done = warm_up(clock.function("f", lambda call: 0.001 if call >= 50 else 0.1 / (1 + call)), 10.0)
    assert done.calls > 50 and done.settled


def test_warm_up_gives_up_after_its_time(clock: Clock) -> None:
    done = warm_up(clock.function("f", lambda call: 10.0 * 0.5 ** (call // 10)), 15.0)
    assert (done.calls, done.settled) == (2, False)
    assert warm_up(clock.function("g", lambda call: 5.0), 0.0).calls == 2


def test_pairs_are_in_abba_order(clock: Clock) -> None:
    a, b = clock.function("A", lambda call: 0.001), clock.function("B", lambda call: 0.002)
    ours, theirs = time_pairs(a, b, 4, 0.0, 10.0, first=3)
    assert "".join(name for name, _ in clock.calls) == "ABBAABBA"
    # Both sides of a pair get the same input, and each pair another one.
    assert [i for _, i in clock.calls] == [3, 3, 4, 4, 5, 5, 6, 6]
    assert (ours, theirs) == ([1_000_000] * 4, [2_000_000] * 4)


@pytest.mark.parametrize(
    ("pairs", "least", "most", "expected"),
    [
        (10, 0.0, 100.0, 10),
        (11, 0.0, 100.0, 12),
        (4, 5.0, 100.0, 26),
        (1000, 0.0, 1.0, 6),
        (1000, 0.0, 0.0, 2),
        (2, 50.0, 100.0, 20),
    ],
)
def test_how_many_pairs(clock: Clock, pairs: int, least: float, most: float, expected: int) -> None:
    ours, theirs = time_pairs(
        clock.function("A", lambda call: 0.1), clock.function("B", lambda call: 0.1), pairs, least, most
    )
    assert len(ours) == len(theirs) == expected


def test_a_window_in_which_nothing_compiles_collects_no_garbage() -> None:
    double = jax.jit(lambda x: x * 2).lower(jnp.ones(3)).compile()
    assert gc.isenabled()
    with timed_window("here"):
        assert not gc.isenabled()
        double(jnp.ones(3)).block_until_ready()
    assert gc.isenabled()


def test_a_compilation_inside_the_window_is_refused() -> None:
    with (
        pytest.raises(
            LatencyError, match=r"^tiny, batch 1: jax traced or compiled inside the timed window, \d\.\d{3} s of it$"
        ),
        timed_window("tiny, batch 1"),
    ):
        jax.jit(lambda x: x * 3 + 1)(jnp.ones(5)).block_until_ready()
    # Compiling after the window is allowed.
    with timed_window("next"):
        pass
    jax.jit(lambda x: x * 5 + 1)(jnp.ones(5)).block_until_ready()
    assert gc.isenabled()


def test_an_error_inside_the_window_comes_through() -> None:
    with pytest.raises(ZeroDivisionError), timed_window("here"):
        raise ZeroDivisionError
    assert gc.isenabled()
