"""Hand-made records of published systems."""

from __future__ import annotations

from typing import Any

from benchmark.config import EncoderConfig, to_dict
from benchmark.records.record import LatencyBlock, Measurement, Numerics, Record, ReportedScore, System
from tests.helpers.board_records import HOSTILE

SOURCE = "Somebody et al. 2020, table 1, https://arxiv.org/abs/1810.04805"

# name, title, milliseconds by XLA, by ONNX Runtime and on the TPU; None: no latency.
TIMES: dict[str, tuple[str, float | None, float | None, float | None]] = {
    "bert_base": ("BERT_BASE", 150.0, 130.0, 0.8),
    "distilbert6": ("DistilBERT", 75.0, 65.0, 0.4),
    "tinybert6": ("TinyBERT6", 75.5, 65.0, 0.4),
    "minilm": ("MiniLM", 40.0, 30.0, 0.2),
    "oddity": (HOSTILE, 30.0, None, 0.6),
    "unknown": ("No architecture", None, None, None),
}
# MNLI-m on the test set, MNLI-m on the validation set, SQuAD v1.1 F1, and the average.
SCORES: dict[str, dict[str, list[float]]] = {
    "bert_base": {"test": [84.6], "validation": [84.7], "squad": [88.41, 88.4], "col9": [79.6]},
    "distilbert6": {"test": [82.6], "squad": [85.8, 86.2], "col9": [76.8]},
    "tinybert6": {"test": [84.6], "squad": [87.5], "col9": [79.4]},
    "minilm": {"validation": [85.7], "squad": [80.0]},
    "oddity": {"squad": [79.0]},
    "unknown": {"test": [83.5], "squad": [88.0]},
}


def make_published(name: str, **changes: Any) -> Record:
    title, *times = TIMES[name]
    known = times[0] is not None
    values: dict[str, Any] = {
        "id": f"published-{name}",
        "track": "published",
        "track_version": "0.1",
        "trust": "reported",
        "system": System(
            name=name,
            title=title,
            kind="reported",
            encoder=to_dict(EncoderConfig()) if known else None,
            parameters=60_000_000,
            flops=None,
            flops_sequence_length=None,
        ),
        "tasks": [],
        "latency": [*_measured(name, times), *_estimated(name, times)],
        "training": None,
        "provenance": None,
        "reported": [_score(key, value) for key, found in SCORES[name].items() for value in found],
        "measurement": _measurement() if known else None,
    }
    return Record(**values | changes)


def _score(key: str, value: float) -> ReportedScore:
    if key == "col9":
        return ReportedScore(family="average", name="col9", split="test", metric=None, value=value, source=SOURCE)
    task, split, metric = ("squad_v1_1_v1", "validation", "f1")
    if key != "squad":
        task, split, metric = "glue_mnli_matched_v1", key, "accuracy"
    return ReportedScore(family="task", name=task, split=split, metric=metric, value=value, source=SOURCE)  # type: ignore[arg-type]


def _measured(name: str, times: list[float | None]) -> list[LatencyBlock]:
    return [
        LatencyBlock(
            method="measured",
            chip="two_cores",
            batch_size=1,
            sequence_length=128,
            dtype="float32",
            runtime=runtime,
            threads=2,
            protocol_version=4,
            latency_s=milliseconds * 1e-3,
            reference="bert_base",
            speedup=reference / milliseconds,
            speedup_interval=(0.9 * reference / milliseconds, 1.1 * reference / milliseconds),
            noise_floor=0.01,
            details={"other_cores": 0.8 if name == "minilm" else 0.1},
        )
        for runtime, milliseconds, reference in zip(("xla", "onnxruntime"), times, (150.0, 130.0), strict=False)
        if milliseconds is not None
    ]


def _estimated(name: str, times: list[float | None]) -> list[LatencyBlock]:
    found = []
    if times[2] is not None:
        shape: dict[str, Any] = {"batch_size": 1, "sequence_length": 128, "dtype": "bfloat16"}
        found = [LatencyBlock(method="compiled", chip="tpu_v4_core", latency_s=times[2] * 1e-3, **shape)]
    if name == "bert_base":
        shape = {"batch_size": 1, "sequence_length": 128, "dtype": "not stated", "details": {"source": SOURCE}}
        found.append(LatencyBlock(method="reported", chip="Pixel 4", latency_s=0.342, **shape))
    return found


def _measurement() -> Measurement:
    return Measurement(
        command="python -m baselines measure --to=runs/published",
        settings={"processes": 2, "reference_name": "bert_base", "min_seconds": 1.5, "max_seconds": 3.0},
        git_commit="0123456789abcdef",
        git_dirty=False,
        versions={"python": "3.11", "jax": "0.10"},
        device={"cpu_model": "two_cores", "cpu_usable": 2, "memory_bytes": 8 * 2**30, "chip": "two_cores"},
        numerics=Numerics(mode="native"),
        finished_utc="2026-01-01T00:00:00+00:00",
        absent={"tpu_v6e": "libtpu is not installed"},
    )
