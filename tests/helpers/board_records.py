"""Hand-made records and search histories for the tests of the leaderboard."""

from __future__ import annotations

from typing import Any

from benchmark.config import EncoderConfig, to_dict
from benchmark.records.record import LatencyBlock, Numerics, Provenance, Record, System
from benchmark.records.task_score import MetricScore, TaskScore
from benchmark.records.training import Training

HOSTILE = "</script><script>alert(1)</script><!--\u2028\u2029&amp;"


def make_block(latency_s: float = 2e-3, **changes: Any) -> LatencyBlock:
    values: dict[str, Any] = {
        "method": "measured",
        "chip": "two_cores",
        "batch_size": 1,
        "sequence_length": 64,
        "dtype": "float32",
        "latency_s": latency_s,
    }
    return LatencyBlock(**values | changes)


def make_task(value: float, task: str = "glue_sst2_v1", half: float | None = 2.0, **changes: Any) -> TaskScore:
    interval = None if half is None else (value - half, value + half)
    values: dict[str, Any] = {
        "task": task,
        "split": "validation",
        "primary_metric": "accuracy",
        "metrics": {"accuracy": MetricScore(value=value, per_seed=[value], interval=interval)},
        "num_examples": 100,
        "seeds": [0],
    }
    return TaskScore(**values | changes)


def make_record(
    name: str,
    *tasks: TaskScore,
    latency: tuple[LatencyBlock, ...] = (),
    kind: Any = "found",
    title: str = "System",
    track: str = "small",
    accuracy: float | None = 40.0,
    gin_text: str = "",
) -> Record:
    encoder = to_dict(EncoderConfig())
    return Record(
        id=name,
        track=track,
        track_version="0.1",
        trust="self-reported",
        system=System(
            name=name, title=title, kind=kind, encoder=encoder, parameters=10, flops=20, flops_sequence_length=64
        ),
        tasks=list(tasks),
        latency=list(latency),
        training=Training(
            recipe="mobilebert", teacher=None, steps=1, tokens=1, masked_lm_accuracy=accuracy, masked_lm_predictions=100
        ),
        provenance=Provenance(
            command="python run_benchmark.py",
            config_fingerprint="0",
            gin_text=gin_text,
            git_commit="0",
            git_dirty=False,
            versions={},
            device={"cpu": "x"},
            numerics=Numerics(mode="native"),
            data_digests={},
            vocabulary_digest="0",
        ),
    )


def make_history(**changes: Any) -> dict[str, Any]:
    trial = {
        "trial": 0,
        "status": "completed",
        "generator": HOSTILE,
        "encoder": to_dict(EncoderConfig()),
        "parameters": 5,
        "accuracy": 30.0,
        "accuracy_stderr": None,
        "latency_s": 0.001,
        "on_front": True,
        "hypervolume": 0.1,
        "seconds": 2.0,
    }
    return {
        "schema_version": 1,
        "track": "small",
        "algorithm": "ax",
        "objectives": {
            "accuracy": {"unit": "percent", "direction": "maximize", "threshold": 0.0},
            "latency": {"unit": "s", "direction": "minimize", "threshold": 1.0, "method": "roofline", "chip": "cpu"},
        },
        "trials": [trial | changes],
        "search_fields": ["hidden_size"],
    }
