"""Comparison of two records of the same settings, field by field.

Where both were computed with portable numerics and the same versions of the computing packages, every score and digest
must be the same to the last bit. Elsewhere a score may differ by as much as between fine-tuning seeds. Latency is
compared within the joint noise of both measurements, on the same kind of machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.records.verification import DIFFERENT, EQUAL, NOT_COMPARED, WITHIN, Compared, Shown

if TYPE_CHECKING:
    from benchmark.records.record import LatencyBlock, Record
    from benchmark.records.task_score import MetricScore, TaskScore

# Packages that compute the numbers of a record; other versions of them may round differently.
COMPUTING = ("flax", "jax", "jaxlib", "numpy", "optax", "scipy")
# Fields of a latency block that must be equal for a comparison.
_CELL = ("runtime", "batch_size", "sequence_length", "dtype", "threads", "protocol_version", "reference")
# Speed-ups of a larger joint noise are not comparable.
_MAX_JOINT_NOISE = 0.5
_MEDIAN_EFFICIENCY = math.sqrt(math.pi / 2)


@dataclass(frozen=True)
class Expectation:
    """The expected agreement of two records: `exact` to the last bit or not, and the reason."""

    exact: bool
    reason: str


def expectation(recorded: Record, found: Record) -> Expectation:
    """Returns the agreement to expect of two records of the same settings."""
    assert recorded.provenance is not None and found.provenance is not None
    ours, theirs = found.provenance.numerics, recorded.provenance.numerics
    if theirs.mode != "portable":
        return Expectation(False, "the record has native numerics")
    if ours != theirs:
        return Expectation(False, "portable numerics are not available here")
    for name in COMPUTING:
        one, two = (p.versions.get(name, "none") for p in (recorded.provenance, found.provenance))
        if one != two:
            return Expectation(False, f"{name} {one} there, {two} here")
    return Expectation(True, "portable numerics and equal versions")


def compare(recorded: Record, found: Record) -> list[Compared]:
    """Compares two records of the same system and settings.

    Args:
        recorded: the record in question.
        found: the record of a new run of its settings.

    Returns:
        One entry for each field, in the record's order.
    """
    expected = expectation(recorded, found)
    return [
        *_identity(recorded, found),
        *_training(recorded, found, expected),
        *_tasks(recorded, found, expected),
        *_averages(recorded, found, expected),
        *_latencies(recorded.latency, found.latency),
        *_provenance(recorded, found),
    ]


def same(field: str, recorded: object, found: object) -> Compared:
    """Compares a field that must be equal; values of any size."""
    outcome = EQUAL if recorded == found else DIFFERENT
    return Compared(field=field, outcome=outcome, recorded=_shown(recorded), found=_shown(found))


def same_values(part: str, recorded: Mapping[str, object], found: Mapping[str, object]) -> Iterator[Compared]:
    """Compares all entries of two mappings, which must be equal."""
    for name in sorted(recorded.keys() | found.keys()):
        yield same(f"{part}.{name}", recorded.get(name), found.get(name))


def not_compared(field: str, recorded: object, found: object, why: str) -> Compared:
    """Reports a field for which equality cannot be expected."""
    return Compared(field=field, outcome=NOT_COMPARED, recorded=_shown(recorded), found=_shown(found), note=why)


def _shown(value: object) -> Shown:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _number(field: str, recorded: float | None, found: float | None, tolerance: float | None, why: str) -> Compared:
    """Compares a number within a tolerance; None stands for exact equality."""
    if recorded == found:
        return Compared(field=field, outcome="equal", recorded=recorded, found=found)
    if tolerance is None or recorded is None or found is None:
        return Compared(field=field, outcome="different", recorded=recorded, found=found, note=why)
    outcome = WITHIN if abs(recorded - found) <= tolerance else DIFFERENT
    note = f"tolerance {tolerance:.2f}: {why}"
    return Compared(field=field, outcome=outcome, recorded=recorded, found=found, note=note)


def _identity(recorded: Record, found: Record) -> Iterator[Compared]:
    for name in ("id", "track", "track_version"):
        yield same(name, getattr(recorded, name), getattr(found, name))
    for name in ("name", "title", "kind", "parameters", "flops", "flops_sequence_length"):
        yield same(f"system.{name}", getattr(recorded.system, name), getattr(found.system, name))
    yield from same_values("system.encoder", recorded.system.encoder or {}, found.system.encoder or {})


def _training(recorded: Record, found: Record, expected: Expectation) -> Iterator[Compared]:
    one, two = recorded.training, found.training
    assert one is not None and two is not None
    for name in ("recipe", "task_recipe", "teacher", "start", "steps", "tokens", "masked_lm_predictions"):
        yield same(f"training.{name}", getattr(one, name), getattr(two, name))
    share, tolerance = (one.masked_lm_accuracy or 0.0) / 100.0, None
    if not expected.exact and one.masked_lm_predictions:
        # The spread between trainings is not known; that between masks is a lower bound of it.
        tolerance = 100.0 * 1.96 * math.sqrt(2.0 * share * (1.0 - share) / one.masked_lm_predictions)
    why = expected.reason if expected.exact else f"1.96 standard errors of a difference, as {expected.reason}"
    yield _number("training.masked_lm_accuracy", one.masked_lm_accuracy, two.masked_lm_accuracy, tolerance, why)
    before = one.masked_lm_accuracy_before, two.masked_lm_accuracy_before
    yield _number("training.masked_lm_accuracy_before", *before, tolerance, why)
    yield from _bits("training.masked_lm_loss", one.masked_lm_loss, two.masked_lm_loss, expected)
    scores = [{} if side.masked_lm is None else side.masked_lm.model_dump() for side in (one, two)]
    for name, value in scores[0].items():
        yield from _bits(f"training.masked_lm.{name}", value, scores[1].get(name), expected)
    yield from _bits("training.parameters_sha256", one.parameters_sha256, two.parameters_sha256, expected)
    mine, theirs = ([replicate.model_dump() for replicate in side.replicates] for side in (one, two))
    yield from _bits("training.replicates", mine, theirs, expected)


def _bits(field: str, recorded: object, found: object, expected: Expectation) -> Iterator[Compared]:
    """Compares a value only where all bits are expected to be equal; older records may lack it."""
    if recorded in (None, [], {}):
        return
    if expected.exact or recorded == found:
        yield same(field, recorded, found)
    else:
        yield not_compared(field, recorded, found, expected.reason)


def _tasks(recorded: Record, found: Record, expected: Expectation) -> Iterator[Compared]:
    ours = {task.task: task for task in found.tasks}
    for task in recorded.tasks:
        other = ours.pop(task.task, None)
        if other is None:
            yield same(f"tasks.{task.task}", "scored", "missing")
            continue
        for name in ("split", "primary_metric", "num_examples", "seeds", "distill_seeds"):
            yield same(f"tasks.{task.task}.{name}", getattr(task, name), getattr(other, name))
        for metric in sorted(task.metrics.keys() | other.metrics.keys()):
            field = f"tasks.{task.task}.{metric}"
            if metric in task.metrics and metric in other.metrics:
                yield from _metric(field, task, task.metrics[metric], other.metrics[metric], expected)
            else:
                yield same(field, metric in task.metrics, metric in other.metrics)
        if task.definition is not None or other.definition is not None:
            one, two = (t.definition.content() if t.definition else {} for t in (task, other))
            yield from same_values(f"tasks.{task.task}.definition", one, two)
        for name in ("training_file", "contamination"):
            # Older records lack both.
            if getattr(task, name) is not None:
                one, two = ({} if v is None else v.model_dump() for v in (getattr(task, name), getattr(other, name)))
                yield from same_values(f"tasks.{task.task}.{name}", one, two)
        yield from _recipe(task, other, expected)
        yield from _bits(f"tasks.{task.task}.details", task.details, other.details, expected)
        for name in ("predictions_sha256", "outcomes_sha256"):
            yield from _bits(f"tasks.{task.task}.{name}", getattr(task, name), getattr(other, name), expected)
    for name in ours:
        yield same(f"tasks.{name}", "missing", "scored")
    yield same("unscored", [u.task for u in recorded.unscored], [u.task for u in found.unscored])


def _recipe(recorded: TaskScore, found: TaskScore, expected: Expectation) -> Iterator[Compared]:
    """Compares the recipes of a task; older records have none. The scores decide which learning rate is chosen."""
    if recorded.recipe is None:
        return
    ours, theirs = (task.recipe.model_dump() if task.recipe else {} for task in (found, recorded))
    for name in sorted(theirs):
        field = f"tasks.{recorded.task}.recipe.{name}"
        if name in ("learning_rate", "choice") and recorded.recipe.choice is not None:
            yield from _bits(field, theirs[name], ours.get(name), expected)
        else:
            yield same(field, theirs[name], ours.get(name))
    one, two = ([f"{each.seed} {each.reason}" for each in task.diverged] for task in (recorded, found))
    yield from _bits(f"tasks.{recorded.task}.diverged", one, two, expected)


def _metric(
    field: str, task: TaskScore, recorded: MetricScore, found: MetricScore, expected: Expectation
) -> Iterator[Compared]:
    if expected.exact:
        yield _number(field, recorded.value, found.value, None, expected.reason)
        yield same(f"{field}.per_seed", recorded.per_seed, found.per_seed)
        yield same(f"{field}.interval", recorded.interval, found.interval)
        return
    tolerance, why = score_tolerance(recorded, found, task.num_examples)
    yield _number(field, recorded.value, found.value, tolerance, f"{why}, as {expected.reason}")
    for name in ("per_seed", "interval"):
        one, two = getattr(recorded, name), getattr(found, name)
        yield (
            same(f"{field}.{name}", one, two)
            if one == two
            else not_compared(f"{field}.{name}", one, two, "a seed stands for other bits here")
        )


def score_tolerance(recorded: MetricScore, found: MetricScore, num_examples: int) -> tuple[float, str]:
    """Computes how far two medians over seeds may differ because of other rounding, in the metric's unit.

    Rounding turns one fine-tuning into another of the same distribution. Medians of `n` draws from a normal
    distribution differ by less than `t sqrt(2 / n) sqrt(pi / 2) s` with 95 %, where `s` is the seeds' pooled standard
    deviation and `t` the quantile of Student's distribution. With one seed there is no spread, and
    the interval over examples replaces it. No tolerance is smaller than one example.

    Args:
        recorded: a score.
        found: the same score of another run.
        num_examples: number of its examples.

    Returns:
        The tolerance, and a description of its source.
    """
    one_example = 100.0 / num_examples
    count = min(len(recorded.per_seed), len(found.per_seed))
    if count > 1:
        from scipy.stats import t

        pooled = math.sqrt((_variance(recorded.per_seed) + _variance(found.per_seed)) / 2.0)
        quantile = float(t.ppf(0.975, 2 * (count - 1)))
        spread = quantile * math.sqrt(2.0 / count) * _MEDIAN_EFFICIENCY * pooled
        return max(spread, one_example), f"95 % of two medians of {count} seeds"
    if recorded.interval is None:
        return one_example, "one example; there are no seeds and no interval"
    half_width = (recorded.interval[1] - recorded.interval[0]) / 2.0
    return max(math.sqrt(2.0) * half_width, one_example), "one seed, so the interval over examples of two runs"


def _variance(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _averages(recorded: Record, found: Record, expected: Expectation) -> Iterator[Compared]:
    for name in sorted(recorded.averages.keys() | found.averages.keys()):
        one, two = recorded.averages.get(name), found.averages.get(name)
        if expected.exact or one == two or one is None or two is None:
            yield same(f"averages.{name}", one, two)
        else:
            yield not_compared(f"averages.{name}", one, two, "follows from the scores")


def _latencies(recorded: list[LatencyBlock], found: list[LatencyBlock]) -> Iterator[Compared]:
    for block in recorded:
        cell = f"{block.runtime or block.chip}, batch {block.batch_size}, length {block.sequence_length}"
        field = f"latency.{block.method} ({cell})"
        alike = [other for other in found if other.method == block.method and _cell(other) == _cell(block)]
        if block.method == "measured":
            yield _measured(field, block, alike)
        elif block.method == "reported":
            yield not_compared(field, block.latency_s, None, "copied from a publication")
        elif matching := [other for other in alike if other.chip == block.chip]:
            yield _estimated(field, block, matching[0])
        else:
            yield not_compared(field, block.latency_s, None, f"no estimate by method {block.method} is available here")


def _cell(block: LatencyBlock) -> tuple[object, ...]:
    return tuple(getattr(block, name) for name in _CELL)


def _estimated(field: str, recorded: LatencyBlock, found: LatencyBlock) -> Compared:
    """Compares estimates, which are arithmetic; a compiled one depends on the compiler's version in its details too."""
    if recorded.latency_s != found.latency_s and recorded.details.get("libtpu") != found.details.get("libtpu"):
        return not_compared(field, recorded.latency_s, found.latency_s, "another version of the compiler")
    return same(field, recorded.latency_s, found.latency_s)


def _measured(field: str, recorded: LatencyBlock, alike: list[LatencyBlock]) -> Compared:
    matching = [block for block in alike if block.chip == recorded.chip]
    if not matching:
        there = f"{recorded.chip}, protocol {recorded.protocol_version}"
        return not_compared(field, recorded.speedup, None, f"measured on another chip or in another way: {there}")
    found = matching[0]
    if recorded.speedup is None or found.speedup is None:
        return not_compared(field, recorded.latency_s, found.latency_s, "no speed-up over a reference to compare")
    joint = math.hypot(_noise(recorded), _noise(found))
    if math.expm1(joint) > _MAX_JOINT_NOISE:
        noisy = f"too noisy to compare: joint noise {math.expm1(joint):.0%}"
        return not_compared(field, recorded.speedup, found.speedup, noisy)
    ratio = abs(math.log(found.speedup / recorded.speedup))
    note = f"speed-up; joint noise of both measurements {math.expm1(joint):.1%}"
    outcome = EQUAL if ratio == 0.0 else WITHIN if ratio <= joint else DIFFERENT
    return Compared(field=field, outcome=outcome, recorded=recorded.speedup, found=found.speedup, note=note)


def _noise(block: LatencyBlock) -> float:
    """Returns the half-width of the 95 % interval of another measurement, in the logarithm of the speed-up."""
    noise = block.noise_floor or 0.0
    if block.speedup is not None and block.speedup_interval is not None and block.speedup_interval[0] > 0:
        low, high = block.speedup_interval
        noise = max(noise, math.log(high / low) / 2.0)
    return noise


def _provenance(recorded: Record, found: Record) -> Iterator[Compared]:
    one, two = recorded.provenance, found.provenance
    assert one is not None and two is not None
    yield same("provenance.config_fingerprint", one.config_fingerprint, two.config_fingerprint)
    if one.track_settings:
        digests = [{part: fixed.sha256 for part, fixed in side.track_settings.items()} for side in (one, two)]
        yield from same_values("provenance.track_settings", *digests)
    yield from same_values("provenance.data_digests", one.data_digests, two.data_digests)
    yield same("provenance.vocabulary_digest", one.vocabulary_digest, two.vocabulary_digest)
    yield same("provenance.data_warnings", one.data_warnings, two.data_warnings)
    yield same("provenance.skipped_rows", _skipped_counts(recorded), _skipped_counts(found))
    yield _circumstance("provenance.numerics", _numerics_text(recorded), _numerics_text(found))
    for name in sorted(one.versions.keys() | two.versions.keys()):
        yield _circumstance(f"provenance.versions.{name}", one.versions.get(name), two.versions.get(name))
    yield _circumstance("provenance.git_commit", one.git_commit, two.git_commit)
    yield _circumstance("provenance.device.cpu_model", one.device.get("cpu_model"), two.device.get("cpu_model"))
    yield not_compared("provenance.timing", None, None, "times are those of a run")


def _circumstance(field: str, recorded: object, found: object) -> Compared:
    """Compares a circumstance of a run, such as its machine: a difference is no fault."""
    if recorded == found:
        return same(field, recorded, found)
    return not_compared(field, recorded, found, f"{_shown(recorded)} there, {_shown(found)} here")


def _skipped_counts(record: Record) -> str:
    assert record.provenance is not None
    return ", ".join(f"{name}: {rows.count}" for name, rows in sorted(record.provenance.skipped_rows.items()))


def _numerics_text(record: Record) -> str:
    assert record.provenance is not None
    numerics = record.provenance.numerics
    threads = f", {numerics.reduction_threads} reduction threads" if numerics.reduction_threads else ""
    return f"{numerics.mode}{threads}"
