"""Training steps against transformers with torch, and what compiling costs (`make bench`).

A step of a MiniLM-L6 student on 32 rows of 128 tokens: masked LM alone, distillation from a live BERT_BASE, and with
the teacher's outputs at hand as in a search (docs/distillation.md). Each framework has a process of its own, and one
works at a time. Both compute the same losses on the same batches, with logits at the masked positions alone; only real
tokens count.
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

from benchmark.process import numerics
from tasks.system.repository import REPOSITORY
from tests.performance.training_child import draw_batches

ROWS = 32
# Turns of a process and steps in each; a turn's median counts once.
TURNS, STEPS = 4, 2
# Seconds between turns, in which the waiting threads of the last framework go to sleep.
PAUSE_S = 0.2
# Parts of our step (`TrainerConfig.gradient_accumulation_steps`), torch's step, and what is asked for of the ratio.
CASES = {
    "masked_lm": (1, "masked_lm", 1.0),
    "distill": (4, "distill", 1.1),
    "cached": (1, "distill", 2.5),
}
PEAK_MEMORY = 1.3
COMPILE_COLD_S = {"inference": 3.0, "training": 8.0}
COMPILE_WARM_S = {"inference": 0.5, "training": 1.0}


# Steps of one framework in a turn that is compared with itself under native numerics.
PORTABLE_CASES = {"micro_teacher": (1, 60), "micro_student": (1, 60), "masked_lm": (1, 2), "distill": (4, 1)}
PORTABLE_RATE = 0.95


def environment(portable: bool) -> dict[str, str]:
    """The children's: one device, torch's own way of waiting, and for ours the numerics that runs have by default."""
    values = numerics.native_environment(os.environ) | {"JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1"}
    values.pop("OMP_WAIT_POLICY", None)
    return numerics.portable_environment(values, 2) if portable else values


@contextmanager
def trained(framework: str, kind: str, parts: int = 1, *, portable: bool) -> Iterator[Any]:
    """A process of a framework; gives a function from a number of steps to what they took."""
    module = "tests.performance.training_child"
    command = [sys.executable, "-W", "ignore", "-m", module, framework, kind, str(ROWS), str(parts)]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment(portable), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout
    try:
        first = process.stdout.readline()
        assert first, f"{framework} {kind} did not start: exit code {process.wait()}"

        def steps(number: int) -> dict[str, Any]:
            assert process.stdin and process.stdout
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline())
            return answer

        yield steps
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("case", CASES)
def test_training_rate(benchmark: Any, state_ratio: Any, case: str) -> None:
    parts, peer, target = CASES[case]
    found: dict[str, list[dict[str, Any]]] = {"jax": [], "torch": []}

    def measure() -> None:
        with ExitStack() as stack:
            servers = {
                "jax": stack.enter_context(trained("jax", case, parts, portable=True)),
                "torch": stack.enter_context(trained("torch", peer, portable=False)),
            }
            for steps in servers.values():
                steps(1)
            for _ in range(TURNS):
                for name, steps in servers.items():
                    time.sleep(PAUSE_S)
                    found[name].append(steps(STEPS))

    benchmark.pedantic(measure, rounds=1, iterations=1)
    seconds = {name: [statistics.median(turn["wall"]) for turn in turns] for name, turns in found.items()}
    ratios = [torch / ours for ours, torch in zip(seconds["jax"], seconds["torch"], strict=True)]
    batches = draw_batches(ROWS, 30522)
    tokens = statistics.mean(int(batch["attention_mask"].sum()) for batch in batches)
    rates = {name: f"{tokens / statistics.median(times):.0f} tokens/s" for name, times in seconds.items()}
    peaks = {name: max(turn["peak_kib"] for turn in turns) / 2**20 for name, turns in found.items()}
    state_ratio(
        f"training, {case} over torch {peer}, rate",
        statistics.median(ratios),
        target,
        rounds=f"{min(ratios):.2f} to {max(ratios):.2f}",
        **rates,
    )
    if case == "distill":
        state_ratio(
            "training, distill, peak memory over torch's",
            peaks["jax"] / peaks["torch"],
            PEAK_MEMORY,
            at_least=False,
            ours=f"{peaks['jax']:.2f} GiB",
            torch=f"{peaks['torch']:.2f} GiB",
        )


@pytest.mark.parametrize("case", PORTABLE_CASES)
def test_portable_rate(benchmark: Any, state_ratio: Any, case: str) -> None:
    """What portable numerics cost: the same step in two processes, in turns."""
    parts, count = PORTABLE_CASES[case]
    found: dict[str, list[float]] = {"portable": [], "native": []}

    def measure() -> None:
        with ExitStack() as stack:
            servers = {
                name: stack.enter_context(trained("jax", case, parts, portable=name == "portable")) for name in found
            }
            for steps in servers.values():
                steps(1)
            for turn in range(2 * TURNS):
                # Who comes first changes from turn to turn.
                for name in sorted(servers, reverse=bool(turn % 2)):
                    time.sleep(PAUSE_S)
                    found[name].append(statistics.median(servers[name](count)["wall"]))

    benchmark.pedantic(measure, rounds=1, iterations=1)
    ratios = [native / portable for portable, native in zip(found["portable"], found["native"], strict=True)]
    rates = {name: f"{1.0 / statistics.median(seconds):.2f} steps/s" for name, seconds in found.items()}
    state_ratio(
        f"portable numerics over native, {case}, rate",
        statistics.median(ratios),
        PORTABLE_RATE,
        rounds=f"{min(ratios):.2f} to {max(ratios):.2f}",
        **rates,
    )


@pytest.mark.parametrize("kind", sorted(COMPILE_COLD_S))
def test_compiling_mobilebert(benchmark: Any, state_ratio: Any, tmp_path: Path, kind: str) -> None:
    command = [sys.executable, "-m", "tests.performance.compile_child", kind, str(tmp_path)]

    def compiled() -> float:
        child = subprocess.run(
            command, cwd=REPOSITORY, env=environment(portable=True), capture_output=True, text=True, check=True
        )
        return float(json.loads(child.stdout.splitlines()[-1])["cpu_s"])

    cold = benchmark.pedantic(compiled, rounds=1, iterations=1)
    warm = compiled()
    name = f"compiling MobileBERT's {kind}"
    state_ratio(f"{name}, cold", cold, COMPILE_COLD_S[kind], unit="s", at_least=False)
    state_ratio(f"{name}, warm", warm, COMPILE_WARM_S[kind], unit="s", at_least=False)
