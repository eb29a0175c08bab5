"""Inference of published architectures against transformers with torch, and ONNX Runtime beside them (`make bench`).

Each framework has a process of its own, and one works at a time: torch's threads and ours in one process would spoil
both. Weights are random; the numbers do not depend on them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("bert_base", "minilm_l6_h384", "tinybert4", "mobilebert")
FRAMEWORKS = ("jax", "torch", "onnxruntime")
# Seconds of calls in one turn of a framework, and turns: each turn's median counts once.
TURN_S, TURNS = 0.5, 6
# Seconds between turns, in which the waiting threads of the last framework go to sleep.
PAUSE_S = 0.1
TARGETS = {1: 0.85, 8: 1.0}


@contextmanager
def served(framework: str, model: str, batch: int) -> Iterator[Any]:
    """A process of a framework; gives a function from a number of calls to their times in seconds."""
    command = [sys.executable, "-m", "tests.performance.inference_child", framework, model, str(batch)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1"}
    # Torch's own default: PASSIVE makes small models up to 1.7 times slower, ACTIVE would spin in the others' turns.
    environment.pop("OMP_WAIT_POLICY", None)
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout
    try:
        answer = process.stdout.readline()
        assert answer, f"{framework} did not start: exit code {process.wait()}"

        def calls(number: int) -> list[float]:
            assert process.stdin and process.stdout
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            return [time / 1e9 for time in json.loads(process.stdout.readline())]

        yield calls
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("batch", sorted(TARGETS))
def test_inference_latency(benchmark: Any, state_ratio: Any, batch: int) -> None:
    ratios: dict[str, float] = {}
    details: dict[str, str] = {}

    def measure() -> None:
        for model in MODELS:
            medians: dict[str, list[float]] = {framework: [] for framework in FRAMEWORKS}
            with ExitStack() as stack:
                servers = {name: stack.enter_context(served(name, model, batch)) for name in FRAMEWORKS}
                counts = {name: max(3, round(TURN_S / min(server(3)))) for name, server in servers.items()}
                for _ in range(TURNS):
                    for name, server in servers.items():
                        time.sleep(PAUSE_S)
                        medians[name].append(statistics.median(server(counts[name])))
            ours, torch, onnx = (statistics.median(medians[name]) for name in FRAMEWORKS)
            ratios[model] = statistics.median(a / b for a, b in zip(medians["jax"], medians["torch"], strict=True))
            details[model] = f"{ratios[model]:.2f} ({1e3 * ours:.1f} ms, torch {1e3 * torch:.1f}, ORT {1e3 * onnx:.1f})"

    benchmark.pedantic(measure, rounds=1, iterations=1)
    mean = statistics.geometric_mean(ratios.values())
    state_ratio(f"inference, batch {batch}, time over torch's", mean, TARGETS[batch], at_least=False, **details)
