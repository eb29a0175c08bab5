"""Published numbers of a baseline in the form of a record: scores and latencies with their sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmark.config import to_dict
from benchmark.models.formulas import forward_flops, num_parameters
from benchmark.records.record import LatencyBlock, Measurement, Record, ReportedScore, System

if TYPE_CHECKING:
    from collections.abc import Sequence

    from baselines.catalogue import Baseline

TRACK = "published"
TRACK_VERSION = "0.1"


def reported_scores(baseline: Baseline) -> list[ReportedScore]:
    """Lists the published scores of a baseline: averages, tasks, masked-LM accuracy, in the order of its file."""
    averages = [
        ReportedScore(
            family="average",
            name=one.average,
            split=one.split,
            metric=None,
            value=one.value,
            source=one.source,
            note=one.note,
        )
        for one in baseline.averages
    ]
    tasks = [
        ReportedScore(
            family="task", name=one.task, split=one.split, metric=one.metric, value=one.value, source=one.source
        )
        for one in baseline.scores
    ]
    masked = baseline.masked_lm_accuracy
    if masked is None:
        return averages + tasks
    # Of a text of its own, which the note names.
    masked_lm = ReportedScore(
        family="masked_lm",
        name="masked_lm",
        split="unknown",
        metric="accuracy",
        value=masked.value,
        source=masked.source,
        note=masked.note,
    )
    return [*averages, *tasks, masked_lm]


def reported_latencies(baseline: Baseline) -> list[LatencyBlock]:
    """Lists the published latencies of a baseline; their number format was not stated."""
    return [
        LatencyBlock(
            method="reported",
            chip=one.chip,
            batch_size=one.batch_size,
            sequence_length=one.sequence_length,
            dtype="not stated",
            latency_s=one.value_s,
            details={"source": one.source},
        )
        for one in baseline.latency
    ]


def record(baseline: Baseline, length: int, latency: Sequence[LatencyBlock], measurement: Measurement | None) -> Record:
    """Makes the record of a baseline, of kind `reported`.

    Args:
        baseline: the published system.
        length: tokens of the sequence whose FLOPs are counted.
        latency: latencies that were obtained here.
        measurement: their circumstances; None where there are none.
    """
    encoder = baseline.encoder
    published = baseline.published_parameters.value if baseline.published_parameters else None
    return Record(
        id=f"{TRACK}-{baseline.name}",
        track=TRACK,
        track_version=TRACK_VERSION,
        trust="reported",
        system=System(
            name=baseline.name,
            title=baseline.title,
            kind="reported",
            encoder=to_dict(encoder) if encoder else None,
            parameters=num_parameters(encoder) if encoder else published,
            flops=forward_flops(encoder, 1, length) if encoder else None,
            flops_sequence_length=length if encoder else None,
        ),
        tasks=[],
        latency=[*latency, *reported_latencies(baseline)],
        training=None,
        provenance=None,
        reported=reported_scores(baseline),
        measurement=measurement,
    )
