"""Latencies of the candidates of a search: one measurement for each, kept in a folder, of one machine."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmark.config import EncoderConfig, LatencyConfig
from benchmark.latency import candidates
from benchmark.latency.candidates import Candidates, Machine, candidate_key, candidate_protocol, this_machine
from benchmark.latency.results import Results
from benchmark.latency.timing import LatencyError
from benchmark.process import numerics
from tasks.system.cores import usable_cores
from tests.helpers.latencies import CONFIG, PLAIN, ROWS, TINY, quiet

OTHER = dataclasses.replace(TINY, intermediate_size=16)
SHORT = dataclasses.replace(TINY, max_position_embeddings=4)


class Measurement:
    """Takes the place of `measure`: the reference takes `reference_ns`, each architecture a given multiple of it."""

    def __init__(self, **speedups: float) -> None:
        self.reference_ns, self.speedups = 1_000_000, speedups
        self.asked: list[list[str]] = []
        self.absent: dict[str, str] = {}

    def __call__(
        self, encoders: Mapping[str, EncoderConfig], config: LatencyConfig, progress: Any, **options: Any
    ) -> Results:
        assert set(options) == {"rows", "folder", "graphs"} and options["rows"] is ROWS
        self.asked.append(list(encoders))
        one = self.reference_ns

        def system(speedup: float) -> dict[str, Any]:
            times = {"samples_ns": [round(one / speedup)] * 4, "reference_samples_ns": [one] * 4}
            return times | {"warm_up": {"calls": 20, "seconds": 0.1, "settled": True}, "joules": None}

        systems = {"": system(1.0)}
        systems |= {n: system(self.speedups[n]) for n in encoders if f"xla/{n}" not in self.absent}
        cell = {"batch_size": 1, "sequence_length": 8, "systems": systems}
        file = {"cells": [cell], "others": {"cores": 0.4, "busiest": "x"}, "device": {"chip": "some"}}
        return Results({"xla": [file, file]}, self.absent)


def make(folder: Path, measurement: Any, lines: list[str] | None = None) -> Candidates:
    progress = quiet if lines is None else lines.append
    return Candidates(CONFIG, lambda: ROWS, folder, progress, measurement)


def test_each_is_measured_once_in_the_time_of_the_first_reference(tmp_path: Path) -> None:
    names = [candidate_key(encoder) for encoder in (TINY, OTHER)]
    measurement, lines = Measurement(**dict(zip(names, (2.0, 4.0), strict=True))), list[str]()
    assert make(tmp_path, measurement, lines)([TINY]) == [pytest.approx(0.5e-3)]
    # The machine is slower now, and so is the reference beside the candidate.
    measurement.reference_ns *= 3
    again = make(tmp_path, measurement)
    assert again([OTHER, TINY, OTHER]) == [pytest.approx(0.25e-3), pytest.approx(0.5e-3), pytest.approx(0.25e-3)]
    assert again([TINY]) == [pytest.approx(0.5e-3)] and measurement.asked == [names[:1], names[1:]]
    assert again.figures() == {names[0]: pytest.approx(0.5e-3), names[1]: pytest.approx(0.25e-3)}
    assert lines[0].startswith("latency: measured 0.500 ms +-0% in ") and "others" not in lines[0]
    assert lines[0].endswith("; other processes took 0.40 cores")
    # A file that is not whole is measured again.
    (tmp_path / f"{names[0]}.json").write_text("{")
    assert again([TINY]) == [pytest.approx(0.5e-3)] and len(measurement.asked) == 3


def test_an_architecture_without_a_latency_has_a_reason(tmp_path: Path) -> None:
    names = [candidate_key(encoder) for encoder in (TINY, OTHER)]
    measurement = Measurement(**dict.fromkeys(names, 1.0))
    measurement.absent = {f"xla/{names[1]}": "cannot be exported"}
    found = make(tmp_path, measurement)([SHORT, TINY, OTHER])
    assert found == [
        "max_position_embeddings = 4: expected at least 8 tokens",
        pytest.approx(1e-3),
        "cannot be exported",
    ]
    assert measurement.asked == [names]
    # Nothing is asked for twice, and the record of the search has the reasons too.
    again = make(tmp_path, measurement)
    assert again([SHORT, TINY, OTHER]) == found and measurement.asked == [names]
    assert again.figures() == dict(zip(map(candidate_key, (SHORT, TINY, OTHER)), found, strict=True))


def test_latencies_of_two_machines_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = candidate_key(TINY)
    make(tmp_path, Measurement(**{name: 1.0}))([TINY])
    here = this_machine("xla")
    monkeypatch.setattr(candidates, "this_machine", lambda runtime: Machine("a desktop", runtime, 12))
    with pytest.raises(LatencyError) as caught:
        make(tmp_path, Measurement())
    assert f"measured on {here}, and this is a desktop, 12 threads, xla; accepted: that machine" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_protocol_is_that_of_the_run_shortened() -> None:
    run = LatencyConfig(reference=PLAIN, runtimes=("onnxruntime", "xla"), sequence_lengths=(4,), seed=3)
    short = candidate_protocol(run, 2, 8)
    assert (short.runtimes, short.batch_sizes, short.sequence_lengths) == (("onnxruntime",), (2,), (8,))
    assert (short.processes, short.max_processes, short.pairs, short.headline_factor) == (3, 3, 20, 1)
    assert short.seed == 3 and short.energy_seconds == 0.0
    # No setting of a smaller measurement grows.
    assert candidate_protocol(CONFIG, 1, 8) == dataclasses.replace(CONFIG, energy_seconds=0.0)


def test_a_real_measurement_has_all_instructions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    portable = numerics.portable_environment(numerics.native_environment(os.environ), 2)
    for key, value in portable.items():
        monkeypatch.setenv(key, value)
    config = candidate_protocol(dataclasses.replace(CONFIG, processes=1, max_processes=1), 1, 8)
    lines: list[str] = []
    source = Candidates(config, lambda: ROWS, tmp_path, lines.append)
    found = source([TINY, OTHER])
    assert all(isinstance(seconds, float) and 0 < seconds < 1 for seconds in found)
    assert source.machine.runtime == "xla" and source.machine.threads in (None, usable_cores())
    figures = json.loads((tmp_path / f"{candidate_key(TINY)}.json").read_text())
    assert figures["processes"] == 1 and figures["pairs"] >= 10
    assert "max_isa" in portable["XLA_FLAGS"] and "max_isa" not in figures["device"]["xla_flags"]
    # From the folder alone.
    again = Candidates(config, lambda: pytest.fail("measured again"), tmp_path, lines.append)
    assert again([TINY, OTHER]) == found and len(lines) == 1
