"""Inference of published architectures against transformers with torch (`make bench`).

ONNX Runtime and `torch.compile` are measured beside them. Each framework has a process of its own, and one works at a
time: torch's threads and ours in one process would spoil both. All read one checkpoint with random parameters, and have
to give the same hidden states.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.catalogue import baselines
from benchmark.export import checkpoint_files
from benchmark.latency.runtimes import random_params
from benchmark.process import numerics
from tasks.system.repository import REPOSITORY

MODELS = ("bert_base", "minilm_l6_h384", "tinybert4", "mobilebert")
FRAMEWORKS = ("jax", "torch", "onnxruntime")
# Seconds of calls in one turn of a framework, and turns: each turn's median counts once.
TURN_S, TURNS = 0.5, 6
# Seconds between turns, in which the waiting threads of the last framework go to sleep.
PAUSE_S = 0.1
TARGETS = {1: 0.85, 8: 1.0}
# Seconds to the first output. Compiling with torch may take minutes; what is not ready by then is reported as such.
START_LIMIT_S = {"torch.compile": 120.0}


class NotReadyError(Exception):
    """A framework that did not give its first output."""


@contextmanager
def served(framework: str, checkpoint: Path, batch: int) -> Iterator[tuple[np.ndarray, Any]]:
    """A process of a framework.

    Gives a sample of its hidden states, and a function from a number of calls to their times in seconds.

    Raises:
        NotReadyError: it ended without output, or was ended after its limit in `START_LIMIT_S`.
    """
    command = [sys.executable, "-m", "tests.performance.inference_child", framework, str(checkpoint), str(batch)]
    # The tests have portable numerics; what is served has all of the processor.
    environment = numerics.native_environment(os.environ) | {"JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1"}
    # Torch's own default: PASSIVE makes small models up to 1.7 times slower, ACTIVE would spin in the others' turns.
    environment.pop("OMP_WAIT_POLICY", None)
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout
    limit = START_LIMIT_S.get(framework, 600.0)
    timer = threading.Timer(limit, process.kill)
    timer.start()
    try:
        answer = process.stdout.readline()
        timer.cancel()
        if not answer:
            raise NotReadyError(f"{framework} gave no output within {limit:g} s: exit code {process.wait()}")

        def calls(number: int) -> list[float]:
            assert process.stdin and process.stdout
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            return [time / 1e9 for time in json.loads(process.stdout.readline())]

        yield np.array(json.loads(answer)), calls
    finally:
        timer.cancel()
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Hugging Face directory of each model."""
    folder = tmp_path_factory.mktemp("checkpoints")
    known = baselines()
    for model in MODELS:
        encoder = known[model].encoder
        assert encoder
        checkpoint_files.write(folder / model, encoder, {"encoder": random_params(encoder)})
    return {model: folder / model for model in MODELS}


def measured(checkpoint: Path, batch: int) -> dict[str, list[float]]:
    """Medians in seconds of each turn of each framework that was ready, after a comparison of their outputs."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(served(name, checkpoint, batch)) for name in FRAMEWORKS}
        try:
            servers["torch.compile"] = stack.enter_context(served("torch.compile", checkpoint, batch))
        except NotReadyError as reason:
            print(f"{checkpoint.name}: {reason}")
        expected, _ = servers["torch"]
        for name, (found, _) in servers.items():
            scale = max(1.0, np.abs(expected).max())
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * scale, err_msg=f"{checkpoint.name} {name}")
        counts = {name: max(3, round(TURN_S / min(calls(3)))) for name, (_, calls) in servers.items()}
        medians: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(TURNS):
            for name, (_, calls) in servers.items():
                time.sleep(PAUSE_S)
                medians[name].append(statistics.median(calls(counts[name])))
    return medians


@pytest.mark.parametrize("batch", sorted(TARGETS))
def test_inference_latency(benchmark: Any, state_ratio: Any, checkpoints: dict[str, Path], batch: int) -> None:
    ratios: dict[str, float] = {}
    details: dict[str, str] = {}

    def measure() -> None:
        for model in MODELS:
            medians = measured(checkpoints[model], batch)
            times = {name: f"{1e3 * statistics.median(values):.1f}" for name, values in medians.items()}
            ratios[model] = statistics.median(a / b for a, b in zip(medians["jax"], medians["torch"], strict=True))
            details[model] = (
                f"{ratios[model]:.2f} ({times['jax']} ms, torch {times['torch']}, ORT {times['onnxruntime']},"
                f" torch.compile {times.get('torch.compile', 'not ready')})"
            )

    benchmark.pedantic(measure, rounds=1, iterations=1)
    mean = statistics.geometric_mean(ratios.values())
    state_ratio(f"inference, batch {batch}, time over torch's", mean, TARGETS[batch], at_least=False, **details)
