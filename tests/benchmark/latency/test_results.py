"""Results of several measuring processes: refusals, and systems that are measured again."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmark.latency import measure as latency
from benchmark.latency.measure import LatencyError, measure
from benchmark.latency.results import blocks, file_name, read_results
from tests.helpers.latencies import CONFIG, ROWS, TINY, quiet


def fake_files(
    folder: Path, ratio: Callable[[int, int, str], float], systems: tuple[str, ...] = ("", "a")
) -> list[Path]:
    """Files of five processes with two cells, whose ratios of reference to candidate are given."""
    paths = [folder / file_name("xla", process) for process in range(5)]
    for process, path in enumerate(paths):
        fake_file(path, process, ratio, systems, {})
    return paths


def fake_file(
    path: Path,
    process: int,
    ratio: Callable[[int, int, str], float],
    systems: Sequence[str],
    skip: dict[str, str],
) -> None:
    """Makes the file that one measuring process would write."""
    cells = []
    for batch_size in (1, 8):
        cell: dict[str, Any] = {"batch_size": batch_size, "sequence_length": 8}
        if f"{batch_size}x8" in skip:
            cells.append(cell | {"skipped": skip[f"{batch_size}x8"]})
            continue
        found = {}
        for system in systems:
            theirs = round(1e6 * ratio(process, batch_size, system))
            found[system] = {
                "samples_ns": [10**6] * 20,
                "reference_samples_ns": [theirs] * 20,
                "warm_up": {"calls": 30 + process, "seconds": 0.1, "settled": process < 4},
                "joules": 0.5 + process if system else 2.0,
            }
        cell |= {"inputs": 30, "source": "x", "real_tokens": 0.5, "host_to_device_ns": 1000, "systems": found}
        cells.append(cell)
    state = {"load_average_1min": 0.1 * process, "cpu_governor": None, "cpu_mhz": None}
    values = {
        "fingerprint": "f",
        "runtime": "xla",
        "process": process,
        "threads": 2,
        "device": {"chip": "chip", "platform": "cpu", "jax": "1", "xla_flags": None},
        "energy_counter": "RAPL",
        "before": state,
        "after": state,
        "others": {"cores": 0.2 * process, "busiest": f"hog (pid {process})"},
        "seconds": 1.0,
        "cells": cells,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def test_what_is_too_wide_is_measured_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """System `b` varies between processes by less and less, the second cell much: only `b`'s is measured again."""

    def ratio(process: int, batch_size: int, system: str) -> float:
        wave = (0.0, 0.3, -0.3, 0.1, -0.1, 0.0, 0.0, 0.0, 0.0, 0.0)[process]
        return 2.0 + wave if system == "b" or batch_size == 8 else 1.0

    asked: list[dict[str, Any]] = []

    def run_process(request: dict[str, Any], process: int, path: Path, *_: Any) -> None:
        asked.append(request)
        fake_file(path, process, ratio, request["systems"], request["skip"])

    monkeypatch.setattr(latency, "_run_process", run_process)
    config = dataclasses.replace(
        CONFIG, batch_sizes=(1, 8), processes=5, max_processes=10, max_half_width=0.1, max_noise_floor=1.0
    )
    candidates = {"a": TINY, "b": TINY}
    results = measure(candidates, config, quiet, rows=ROWS, folder=tmp_path)
    more = asked[5:]
    assert [request["systems"] for request in asked[:5]] == [["", "a", "b"]] * 5
    assert 0 < len(more) < 5 and all(request["systems"] == ["b"] for request in more)
    assert all(request["skip"] == {"8x8": "not the headline"} for request in more)
    headline, other = results.cells
    counts = {name: len(results.measurement(headline, name).samples_ns) for name in ("", "a", "b")}  # type: ignore[union-attr]
    assert counts == {"": 5, "a": 5, "b": len(asked)}
    assert len(results.measurement(other, "b").samples_ns) == 5  # type: ignore[union-attr]
    assert results.too_wide(config) == []
    # One process less was not enough, and a limit of them is kept.
    before = read_results({"xla": [tmp_path / file_name("xla", n) for n in range(len(asked) - 1)]}, {})
    assert before.too_wide(config) == ["b"]
    asked.clear()
    measure(candidates, dataclasses.replace(config, max_processes=6), quiet, rows=ROWS, folder=tmp_path / "6")
    assert len(asked) == 6


def test_a_cell_that_is_too_noisy_has_no_number(tmp_path: Path) -> None:
    def ratio(process: int, batch_size: int, system: str) -> float:
        wave = 0.2 * (process - 2) if batch_size == 8 and not system else 0.0
        return 1.0 + wave if not system else 2.0

    results = read_results({"xla": fake_files(tmp_path, ratio)}, {})
    config = dataclasses.replace(CONFIG, batch_sizes=(1, 8), max_noise_floor=0.1)
    calm, noisy = results.cells
    assert results.refused(calm, config) is None
    reason = results.refused(noisy, config)
    assert reason is not None and reason.startswith("the reference differs from itself by 0.")
    assert "LatencyConfig.max_noise_floor = 0.1" in reason and "hog (pid 4)" in reason
    (block,) = blocks(results, "a", config)
    assert block.batch_size == 1 and block.speedup == pytest.approx(2.0)
    assert block.percentiles_s == {"p50": 1e-3, "p90": 1e-3, "p99": None}
    assert (block.joules, block.reference_joules) == (2.5, 2.0)
    assert block.details["warmup_calls"] == 34 and block.details["warmup_settled"] is False
    assert block.details["load_before"] == pytest.approx(0.4)
    assert block.details["busiest_other"] == "hog (pid 4)" and "xla_flags" not in block.details
    assert len(blocks(results, "a", dataclasses.replace(config, max_noise_floor=100.0))) == 2


def test_a_noisy_headline_refuses_the_whole_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    paths = fake_files(tmp_path, lambda process, batch_size, system: 1.0 + 0.2 * (process - 2))
    config = dataclasses.replace(CONFIG, max_noise_floor=0.1)
    with pytest.raises(LatencyError, match=r"^latency: refused: xla, batch 1, length 8: the reference differs"):
        latency._report_refusals(read_results({"xla": paths}, {}), config, {"xla": paths}, quiet)
    assert not list(tmp_path.glob("xla-*.json"))


def test_files_that_are_gone_are_named(tmp_path: Path) -> None:
    with pytest.raises(LatencyError, match=r"samples cannot be read.*xla-0\.json"):
        read_results({"xla": [tmp_path / "xla-0.json"]}, {})
