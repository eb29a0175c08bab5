"""Fine-tuning MiniLM-L6 on MRPC against transformers with torch (`make bench`; needs `AUTODISTILL_DATA`).

Each framework has a process of its own, and one works at a time. A turn is sixteen steps of 32 rows, so that every turn
has rows of all lengths; the rate is that of examples, whatever padding a framework computes.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.system.repository import REPOSITORY
from tests.performance.finetuning_child import ROWS
from tests.performance.test_training import PAUSE_S, environment

TURNS, STEPS = 4, 16
# Peer -> what is asked for of our rate over its.
PEERS = {"torch": 1.0, "torch_grouped": 1.0}


@contextmanager
def tuned(framework: str, root: Path) -> Iterator[Any]:
    """A process of a framework; gives a function from a number of steps to the seconds that each took."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.performance.finetuning_child", framework]
    values = environment(portable=framework == "jax") | {"AUTODISTILL_DATA": str(root)}
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=values, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout
    try:
        first = process.stdout.readline()
        assert first, f"{framework} did not start: exit code {process.wait()}"

        def steps(number: int) -> float:
            assert process.stdin and process.stdout
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            return float(sum(json.loads(process.stdout.readline())["wall"]))

        yield steps
    finally:
        process.kill()
        process.wait()


@pytest.mark.real_data
def test_finetuning_rate(benchmark: Any, state_ratio: Any, data_root: Path) -> None:
    found: dict[str, list[float]] = {name: [] for name in ("jax", *PEERS)}

    def measure() -> None:
        with ExitStack() as stack:
            servers = {name: stack.enter_context(tuned(name, data_root)) for name in found}
            for steps in servers.values():
                # Compiles our program for each length.
                steps(STEPS)
            for _ in range(TURNS):
                for name, steps in servers.items():
                    time.sleep(PAUSE_S)
                    found[name].append(steps(STEPS))

    benchmark.pedantic(measure, rounds=1, iterations=1)
    rates = {name: f"{ROWS * STEPS / statistics.median(times):.1f} examples/s" for name, times in found.items()}
    for name, target in PEERS.items():
        ratios = [torch / own for own, torch in zip(found["jax"], found[name], strict=True)]
        state_ratio(
            f"fine-tuning MiniLM-L6 on MRPC over {name}, rate",
            statistics.median(ratios),
            target,
            rounds=f"{min(ratios):.2f} to {max(ratios):.2f}",
            ours=rates["jax"],
            peer=rates[name],
        )
