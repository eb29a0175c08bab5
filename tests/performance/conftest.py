"""What the measurements share: ratios with targets, printed as one table at the end (`make bench`)."""

import statistics
import time

import pytest

RATIOS = pytest.StashKey[list[dict]]()


def pytest_configure(config):
    config.stash[RATIOS] = []


@pytest.fixture
def state_ratio(benchmark, request):
    """A function that notes a measured value beside its target, for the table and for the JSON file."""

    def state(name, value, target, *, unit="", at_least=True, **details):
        row = {
            "name": name,
            "value": value,
            "unit": unit,
            "target": target,
            "at_least": at_least,
            "met": value >= target if at_least else value <= target,
            "details": details,
        }
        request.config.stash[RATIOS].append(row)
        benchmark.extra_info.update(row)

    return state


@pytest.fixture
def interleaved(benchmark):
    """A function that times two functions in turns and gives the ratio of their rates, ours to the peer's.

    Each round times one after the other, so that what else the machine does meets both; the median of the rounds'
    ratios counts.
    """

    def measure(ours, peer, rounds=5):
        seconds = {"ours": [], "peer": []}

        def timed(name, function):
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)

        # One round that does not count: first calls load and compile.
        ours()
        peer()
        benchmark.pedantic(
            timed, args=("ours", ours), setup=lambda: timed("peer", peer), rounds=rounds, iterations=1, warmup_rounds=0
        )
        ratios = [peer / ours for ours, peer in zip(seconds["ours"], seconds["peer"], strict=True)]
        return statistics.median(ratios), {name: statistics.median(times) for name, times in seconds.items()}, ratios

    return measure


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash[RATIOS]
    if not rows:
        return
    terminalreporter.section("measured against targets")
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        sign = ">=" if row["at_least"] else "<="
        verdict = "met" if row["met"] else "MISSED"
        details = ", ".join(f"{key} {value}" for key, value in row["details"].items())
        measured = f"{row['value']:8.2f} {row['unit']:4} {sign} {row['target']:g}"
        terminalreporter.write_line(f"{row['name']:{width}}  {measured:24}  {verdict:6}  {details}")
