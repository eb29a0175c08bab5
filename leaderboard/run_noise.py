"""What repeated runs of a track say of it: its noise, the differences that it resolves, and whether intervals hold."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from benchmark.statistics import intervals
from benchmark.statistics.intervals import Runs, Seeds
from benchmark.statistics.pairs import LEVEL, Entry, compare, resolution
from benchmark.statistics.scales import PLAIN, PROPORTION, SCALES, Scale
from benchmark.statistics.variance import Variance
from leaderboard.estimates import TaskKey, masked_lm_of, mean_of, runs_of, whole_runs
from leaderboard.repeated_runs import RepeatedRuns, RepeatedSystem
from leaderboard.seed_noise import seed_variances

Read: TypeAlias = Callable[[RepeatedSystem], Runs | None]


@dataclass(frozen=True)
class Noise:
    """The noise of one score of a track; standard deviations are those of the usual system, in percentage points.

    Attributes:
        key: name of the score, as `leaderboard.estimates.estimates` has it.
        finetune: between fine-tuning seeds; None where no run has two.
        run: between whole runs, beside it, that is teacher and distillation.
        examples: over the choice of examples; None where it is not known.
        resolution: smallest difference of two systems, each with one run of one fine-tuning seed, that a comparison
            finds in four of five cases; None where the noise of examples is not known.
    """

    key: str
    finetune: float | None
    run: float | None
    examples: float | None
    resolution: float | None


def score_readers(repeated: RepeatedRuns) -> dict[str, tuple[Scale, Read]]:
    """Lists every score of repeated runs by name, with its scale and how it is read."""
    systems = [system for run in repeated.runs for system in run.systems.values()]
    held = [{TaskKey.from_score(task) for task in system.tasks} for system in systems]
    common = _common_tasks(repeated)
    found: dict[str, tuple[Scale, Read]] = {"mean": (PLAIN, partial(mean_of, keys=common))} if common else {}
    found["masked_lm_accuracy"] = PROPORTION, masked_lm_of
    return found | {
        key.key: (SCALES.get(key.metric, PLAIN), partial(runs_of, key=key)) for key in sorted(set.union(*held))
    }


def noise(repeated: RepeatedRuns) -> list[Noise]:
    """Sums up the noise of every score over the systems that are neither teacher nor control."""
    return [_noise(repeated, key, scale, read) for key, (scale, read) in score_readers(repeated).items()]


def resolutions(repeated: RepeatedRuns, common: Sequence[TaskKey]) -> dict[str, float | None]:
    """Gives what every score resolves; the mean only where it is over the tasks that a board has in common."""
    found = {one.key: one.resolution for one in noise(repeated)}
    if _common_tasks(repeated) != list(common):
        found.pop("mean", None)
    return found


def _common_tasks(repeated: RepeatedRuns) -> list[TaskKey]:
    systems = [system for run in repeated.runs for system in run.systems.values()]
    return sorted(set.intersection(*({TaskKey.from_score(task) for task in system.tasks} for system in systems)))


def _noise(repeated: RepeatedRuns, key: str, scale: Scale, read: Read) -> Noise:
    all_runs = whole_runs(repeated, read)
    last = {name: own for name, own in _of_run(repeated, -1, read).items() if name in all_runs}
    seeds = seed_variances(last, {name: name for name in last}, scale, all_runs, repeated.kinds)
    names = [name for name in last if repeated.runs[-1].systems[name].kind == "baseline"] or list(last)
    entries = [_entry(last[name], seeds[name], scale) for name in names]
    # A system against another of its kind.
    least = [resolution(compare([entry, entry])) for entry in entries if entry.examples.known]

    def deviation(pick: Callable[[Seeds], Variance]) -> float | None:
        known = [
            math.sqrt(pick(seeds[name]).value) / scale.slope(all_runs[name].mean)
            for name in names
            if pick(seeds[name]).known
        ]
        return statistics.median(known) if known else None

    examples = [math.sqrt(entry.examples.value) for entry in entries if entry.examples.known]
    return Noise(
        key,
        deviation(lambda own: own.finetune),
        deviation(lambda own: own.run),
        statistics.median(examples) if examples else None,
        statistics.median(one for one in least if one is not None) if least else None,
    )


def _entry(runs: Runs, seeds: Seeds, scale: Scale) -> Entry:
    """Makes the entry of one run with one fine-tuning seed."""
    one = _one(runs)
    variance, slope = seeds.of_mean(one), scale.slope(one.mean)
    return Entry(one.mean, Variance(variance.value / slope**2, variance.degrees), one.items)


def _of_run(repeated: RepeatedRuns, number: int, read: Read) -> dict[str, Runs]:
    """Reads one score of all systems of a run."""
    found = {name: read(system) for name, system in repeated.runs[number].systems.items()}
    return {name: own for name, own in found.items() if own is not None}


def coverage(repeated: RepeatedRuns) -> dict[str, tuple[int, int]]:
    """Counts how often a score falls into the interval of another run that a record under other seeds prints.

    The variances are those of the runs other than these two.

    Returns:
        Name of a score -> scores inside, and all, over the systems and the ordered pairs of runs.
    """
    return _counted(repeated, _inside)


def false_differences(repeated: RepeatedRuns) -> dict[str, tuple[int, int]]:
    """Counts how often two runs of a system are called different at 5 %, as if they were two systems.

    The examples are not paired; the variances are those of the runs other than these two.

    Returns:
        Name of a score -> pairs that are called different, and all, over the systems and the pairs of runs.
    """
    return _counted(repeated, _different)


@dataclass(frozen=True)
class _Pair:
    """One score of a system in two runs, each as a record of one fine-tuning seed, and the variances of its seeds."""

    one: Runs
    two: Runs
    seeds: Seeds


def _counted(repeated: RepeatedRuns, judge: Callable[[_Pair, Scale], Iterator[bool]]) -> dict[str, tuple[int, int]]:
    found = {}
    for key, (scale, read) in score_readers(repeated).items():
        judged = [judgement for pair in _pairs(repeated, scale, read) for judgement in judge(pair, scale)]
        found[key] = sum(judged), len(judged)
    return found


def _pairs(repeated: RepeatedRuns, scale: Scale, read: Read) -> Iterator[_Pair]:
    """Yields all pairs of runs of every system; none where no other two runs are left for the variances."""
    kinds = repeated.kinds
    for numbers in itertools.combinations(range(len(repeated.runs)) if len(repeated.runs) > 3 else (), 2):
        others = whole_runs(repeated, read, without=numbers)
        first, second = ({n: _one(own) for n, own in _of_run(repeated, k, read).items()} for k in numbers)
        both = {name: own for name, own in first.items() if name in second}
        for name, seeds in seed_variances(both, {name: name for name in both}, scale, others, kinds).items():
            yield _Pair(first[name], second[name], seeds)


def _one(runs: Runs) -> Runs:
    """Keeps one run with one fine-tuning seed."""
    return Runs(((runs.scores[0][0],),), runs.items, runs.examples)


def _inside(pair: _Pair, scale: Scale) -> Iterator[bool]:
    for record, other in ((pair.one, pair.two), (pair.two, pair.one)):
        interval = intervals.of_another_run(record, pair.seeds, scale)
        if interval is not None:
            yield interval[0] <= other.mean <= interval[1]


def _different(pair: _Pair, scale: Scale) -> Iterator[bool]:
    entries = [_entry(runs, pair.seeds, scale) for runs in (pair.one, pair.two)]
    yield bool(compare(entries).p[0, 1] < LEVEL)


def report(repeated: RepeatedRuns) -> Iterator[str]:
    """Words the noise of a track, and how often its intervals hold, as lines of a table."""
    yield f"{repeated.track} {repeated.track_version}: {len(repeated.runs)} runs under other seeds"
    yield "standard deviations and resolution in percentage points; of the usual student, one run each"
    yield f"{'score':<32} {'finetune':>8} {'run':>6} {'examples':>8} {'resolves':>8} {'in the interval':>16}"
    held = coverage(repeated)
    for one in noise(repeated):
        inside, count = held[one.key]
        cells = [_cell(one.finetune, 8), _cell(one.run, 6), _cell(one.examples, 8), _cell(one.resolution, 8)]
        share = f"{100.0 * inside / count:.1f} % of {count}" if count else "-"
        yield f"{one.key:<32} {' '.join(cells)} {share:>16}"
    inside, count = (sum(numbers) for numbers in zip(*held.values(), strict=True))
    if count:
        yield f"{'all':<65} {100.0 * inside / count:.1f} % of {count}"
        different, count = (sum(numbers) for numbers in zip(*false_differences(repeated).values(), strict=True))
        yield f"two runs of one system are called different in {100.0 * different / count:.1f} % of {count} pairs"


def _cell(value: float | None, width: int) -> str:
    return f"{'-' if value is None else f'{value:.2f}':>{width}}"
