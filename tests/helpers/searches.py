"""A small search space, fake trials, and searches that are killed: shared by the tests of the search."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmark.config import ChipConfig, EncoderConfig, SearchConfig, SearchSpace, encoder_from_dict
from benchmark.hardware.estimates import known_latency
from benchmark.models.formulas import num_parameters
from benchmark.search.executors import LocalExecutor, Work
from benchmark.search.journal import Journal, Trial
from benchmark.search.loop import run_search
from benchmark.search.space import architecture_hash

BASE = EncoderConfig(vocab_size=50, embedding_size=16, hidden_size=32, num_hidden_layers=2, max_position_embeddings=32)
SPACE = SearchSpace(
    base=BASE,
    num_hidden_layers=(1, 2, 3),
    hidden_size=(32,),
    intra_bottleneck_size=(8, 12, 16),
    num_attention_heads=(4,),
    intermediate_size=(8,),
    num_feedforward_networks=(1, 2, 4),
)
CONFIG = SearchConfig(
    space=SPACE,
    algorithm="random",
    num_trials=9,
    num_initial_trials=4,
    parallel_trials=2,
    accuracy_threshold=1.0,
    latency_threshold_s=1.0,
    chip=ChipConfig(peak_flops=1e11, memory_bandwidth=1e10),
    latency_methods=("roofline",),
    sequence_length=16,
)
LATENCY = known_latency(CONFIG, None, lambda line: None)


def quiet(line: str) -> None:
    """Takes a progress line."""


def threads(evaluate: Callable[[EncoderConfig, int], dict[str, float]]) -> LocalExecutor:
    """Makes an executor that evaluates two trials at a time."""
    return LocalExecutor(lambda job: evaluate(encoder_from_dict(job["encoder"]), job["number"]), 2)


def accuracy(encoder: EncoderConfig, number: int = 0) -> dict[str, float]:
    """Returns the accuracy of a fake trial: larger students are better, with a ripple, for any trial number."""
    ripple = int(architecture_hash(encoder)[:2], 16) / 256
    return {"accuracy": 10.0 + num_parameters(encoder) / 1000 + ripple, "accuracy_stderr": 0.5, "loss": 1.0}


def stable(path: Path) -> list[Any]:
    """Returns the journal without the values that depend on the clock."""
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    for entry in entries:
        for name in ("seconds", "suggest_seconds", "compile_seconds"):
            entry.get("result", {}).pop(name, None)
    return entries


def points_of(trials: list[Trial]) -> list[tuple[int, ...]]:
    # The journal sorts names, so a point that was read back lists its values in another order.
    return [tuple(value for _, value in sorted(t.point.items())) for t in trials]


def killed_at_every_event(
    config: SearchConfig, folder: Path, work: Work | None = None
) -> tuple[list[Trial], list[Trial], Path, Path]:
    """Runs a search undisturbed, and once more with a kill after each journal line and inside each evaluation."""
    evaluate = work or (lambda job: accuracy(encoder_from_dict(job["encoder"])))
    undisturbed = run_search(config, Journal(folder / "whole"), LocalExecutor(evaluate, 2), 3, quiet)
    path = folder / "killed"
    written: set[int] = set()
    evaluated: set[tuple[int, float]] = set()

    class Fragile(Journal):
        def _append(self, entry: dict[str, Any]) -> None:
            super()._append(entry)
            size = path.stat().st_size
            if size not in written:
                written.add(size)
                raise KeyboardInterrupt

    def fragile(job: dict[str, Any]) -> dict[str, float]:
        key = job["number"], job["fraction"]
        if key not in evaluated:
            evaluated.add(key)
            raise KeyboardInterrupt
        return evaluate(job)

    for _ in range(200):
        try:
            with Fragile(path) as journal:
                executor = LocalExecutor(fragile, 2)
                return undisturbed, run_search(config, journal, executor, 3, quiet), folder / "whole", path
        except KeyboardInterrupt:
            continue
    raise AssertionError("the search never ends")


def whole(point: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(value) for name, value in point.items()}
