"""The systems and the search history that the page shows in the browser tests."""

from __future__ import annotations

import math
import random
from typing import Any

from benchmark.config import EncoderConfig, to_dict
from benchmark.records.record import LatencyBlock, Numerics, Provenance, Record, System
from benchmark.records.task_score import MetricScore, TaskScore
from benchmark.records.training import Training

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028<!--<script>"
TASKS = (("glue_sst2_v1", "accuracy", 872), ("glue_mrpc_v1", "f1", 408), ("squad_v1_v1", "f1", 1000))
SYSTEMS = (
    # name, title, kind, layers, hidden_size, score, latency in ms
    ("found_12", "Found 12", "found", 6, 128, 71.0, 2.1),
    ("found_31", "Found 31", "found", 12, 128, 76.5, 4.0),
    ("mobilebert", "MobileBERT (micro)", "baseline", 12, 160, 76.0, 5.6),
    ("tinybert", "TinyBERT (micro)", "baseline", 4, 96, 66.4, 1.6),
    ("bert_tiny", HOSTILE, "baseline", 2, 64, 60.2, 1.7),
    ("teacher", "IB-BERT teacher", "teacher", 12, 256, 81.3, 19.0),
    ("untrained", "Untrained control", "control", 6, 128, 50.1, 2.15),
)


def _score(value: float, examples: int, generator: random.Random) -> MetricScore:
    half = 196 * math.sqrt(0.2 / examples)
    seeds = sorted(round(value + generator.uniform(-1.5, 1.5), 2) for _ in range(3))
    return MetricScore(value=seeds[1], per_seed=seeds, interval=(seeds[1] - half, seeds[1] + half))


def _latency(milliseconds: float, generator: random.Random, *, length: int = 64) -> LatencyBlock:
    def samples(center: float) -> list[list[int]]:
        return [[int(center * 1e6 * generator.lognormvariate(0, 0.06)) for _ in range(120)] for _ in range(3)]

    speedup = 19.0 / milliseconds
    return LatencyBlock(
        method="measured",
        chip="two_cores",
        batch_size=1,
        sequence_length=length,
        dtype="float32",
        runtime="xla",
        threads=2,
        protocol_version=3,
        latency_s=milliseconds * 1e-3,
        percentiles_s={"p50": milliseconds * 1.01e-3, "p90": milliseconds * 1.1e-3, "p99": None},
        joules=milliseconds * 0.05,
        reference="bert_reference",
        speedup=speedup,
        speedup_interval=(speedup * 0.95, speedup * 1.06),
        noise_floor=0.012,
        samples_ns=samples(milliseconds),
        reference_samples_ns=samples(19.0),
    )


def make_record(name: str, title: str, kind: Any, layers: int, width: int, score: float, ms: float) -> Record:
    generator = random.Random(name)
    encoder = EncoderConfig(
        vocab_size=1024, embedding_size=64, hidden_size=width, num_hidden_layers=layers, intra_bottleneck_size=64
    )
    tasks = [
        TaskScore(
            task=task,
            split="validation",
            primary_metric=metric,
            metrics={
                metric: _score(score + 3 * index, examples, generator),
                "other": _score(score, examples, generator),
            },
            num_examples=examples,
            seeds=[0, 1, 2],
        )
        for index, (task, metric, examples) in enumerate(TASKS)
        if name != "tinybert" or index < 2
    ]
    return Record(
        id=f"micro.{name}",
        track="micro",
        track_version="0.1",
        trust="self-reported",
        system=System(
            name=name,
            title=title,
            kind=kind,
            encoder=to_dict(encoder),
            parameters=layers * width * width * 12,
            flops=layers * width * width * 1536,
            flops_sequence_length=64,
        ),
        tasks=tasks,
        averages={"task8_m": score},
        latency=[_latency(ms, generator)] + ([_latency(ms / 2, generator, length=32)] if kind == "found" else []),
        training=Training(
            recipe="mobilebert",
            teacher="teacher",
            steps=800,
            tokens=1_638_400,
            masked_lm_accuracy=None if name == "untrained" else score - 30,
            masked_lm_predictions=5120,
            masked_lm_loss=2.31,
        ),
        provenance=Provenance(
            command="python run_benchmark.py --gin_file=gin/quickstart.gin --workdir=runs/quickstart",
            config_fingerprint="ab" * 32,
            gin_text="DataConfig.source = 'microworld'\n",
            git_commit="0123456789abcdef",
            git_dirty=False,
            versions={"jax": "0.4", "python": "3.11"},
            device={"cpu": "x86_64", "cores": 2},
            numerics=Numerics(mode="portable", reduction_threads=2),
            data_digests={"glue_sst2_v1": "cd" * 32},
            vocabulary_digest="ef" * 32,
            timing={"distill_s": 41.5},
        ),
    )


def make_history() -> dict[str, Any]:
    generator = random.Random(7)
    trials: list[dict[str, Any]] = []
    for trial in range(24):
        layers, width = generator.choice((4, 6, 8, 12)), generator.choice((96, 128, 160, 192))
        encoder = EncoderConfig(vocab_size=1024, embedding_size=64, hidden_size=width, num_hidden_layers=layers)
        failed = trial == 5
        trials.append(
            {
                "trial": trial,
                "status": "failed" if failed else "completed",
                "generator": "sobol" if trial < 8 else "qnehvi",
                "encoder": to_dict(encoder),
                "parameters": layers * width * width * 12,
                "accuracy": None if failed else 20 + 4 * math.log(layers * width) + generator.gauss(0, 0.8),
                "accuracy_stderr": None if failed else 0.6,
                "latency_s": None if failed else layers * width * 4e-6,
                "on_front": False,
                "hypervolume": 0.6 * (1 - 0.85 ** (trial + 1)),
                "seconds": 3.5,
            }
        )
    done = [t for t in trials if t["status"] == "completed"]
    for t in done:
        t["on_front"] = not any(
            (o["latency_s"] <= t["latency_s"] and o["accuracy"] > t["accuracy"])
            or (o["latency_s"] < t["latency_s"] and o["accuracy"] >= t["accuracy"])
            for o in done
        )
    return {
        "schema_version": 1,
        "track": "micro",
        "algorithm": "ax",
        "objectives": {
            "accuracy": {"unit": "percent", "direction": "maximize", "threshold": 20.0},
            "latency": {
                "unit": "s",
                "direction": "minimize",
                "threshold": 0.02,
                "method": "roofline",
                "chip": "cpu_2core",
            },
        },
        "trials": trials,
        "search_fields": ["num_hidden_layers", "hidden_size"],
        "analysis": {
            "draws": 1000,
            "front": [{"trial": t["trial"], "probability": 0.9 if t["on_front"] else 0.05} for t in done],
            "hypervolume": {"low": 0.55, "high": 0.62},
            "importance": [
                {"field": "hidden_size", "first_order": 0.3, "total_order": 0.4, "effect": "rises"},
                {"field": "num_hidden_layers", "first_order": 0.5, "total_order": 0.7, "effect": "rises"},
            ],
            "predictions": [
                {
                    "model": model,
                    "proposes": model == "expected_gain",
                    "trials": [
                        {"trial": t["trial"], "mean": t["accuracy"] + generator.gauss(0, 0.7), "stderr": 0.5}
                        for t in done[first:]
                    ],
                }
                for model, first in (("expected_gain", 0), ("ax", 1))
            ],
            "notes": [],
        },
    }
