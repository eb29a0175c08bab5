"""Two intervals of a score: where another run falls, and where the mean over all runs lies on other examples.

docs/statistics.md has the formulas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from benchmark.statistics.scales import CORRELATION, PROPORTION, Interval, Scale, quantile
from benchmark.statistics.variance import UNKNOWN, Variance, of_values, pooled, total

CONFIDENCE = 0.95
# So much further the slope of Fisher's scale may lead than the scale itself does, one error towards 0.
_STEEP = 1.5


@dataclass(frozen=True)
class Runs:
    """The scores of one system on one task, in percent.

    Attributes:
        scores: for each distillation seed those of its fine-tuning seeds; at least one.
        items: variance of the mean over runs that comes from the choice of examples, in percent squared; UNKNOWN where
            the examples are not known.
        examples: how many were drawn independently (paragraphs, where questions share one).
        interaction: what of the variance of the mean both `items` and the seeds hold (`shared_by_both`).
    """

    scores: tuple[tuple[float, ...], ...]
    items: Variance = UNKNOWN
    examples: int = 0
    interaction: Variance = UNKNOWN

    @property
    def mean(self) -> float:
        """The mean over distillation seeds of the means over fine-tuning seeds."""
        return float(np.mean([np.mean(run) for run in self.scores]))


@dataclass(frozen=True)
class Seeds:
    """Variances between runs, on the scale of the metric.

    Attributes:
        finetune: between fine-tuning seeds of one distilled student.
        distill: between distillations of one teacher, beside it.
        run: between whole runs with other seeds, of one distillation each, beside it; their teachers differ, too.
    """

    finetune: Variance = UNKNOWN
    distill: Variance = UNKNOWN
    run: Variance = UNKNOWN

    def of_mean(self, runs: Runs, more: float = 0.0) -> Variance:
        """Returns the variance of the mean over the runs that comes from their seeds, and of `more` runs beside it.

        All distillations of a record have one teacher: they average out what is theirs of the noise of a whole run.
        """
        students = len(runs.scores)
        share = math.fsum(1.0 / len(run) for run in runs.scores) / students**2
        if not self.run.known:
            return total((more + share, self.finetune), (more + 1.0 / students, self.distill))
        averaged = Variance(min(self.distill.value, self.run.value), self.distill.degrees)
        return total((more + share, self.finetune), (more + 1.0, self.run), (1.0 / students - 1.0, averaged))


def own_seeds(runs: Runs, scale: Scale) -> Seeds:
    """Estimates both variances from the runs of one system alone (analysis of variance with nested factors).

    Where the students have different numbers of fine-tuning seeds, their harmonic mean stands for them.
    """
    values = [[scale.to(score) for score in run] for run in runs.scores]
    within = pooled([of_values(run) for run in values])
    means = of_values([float(np.mean(run)) for run in values])
    if not means.known or not within.known:
        return Seeds(within, means)
    seeds = len(values) / math.fsum(1.0 / len(run) for run in values)
    return Seeds(within, Variance(max(means.value - within.value / seeds, 0.0), means.degrees))


def of_another_run(runs: Runs, seeds: Seeds, scale: Scale) -> Interval | None:
    """Computes where one more run of the system falls on the same examples, with 95 %; None where nothing is known.

    The run has other seeds of all kinds whose variance is known.
    """
    variance = seeds.of_mean(runs, more=1.0)
    if not variance.degrees:
        return None
    half = quantile(CONFIDENCE, variance.degrees) * math.sqrt(variance.value)
    centre = float(np.mean([np.mean([scale.to(score) for score in run]) for run in runs.scores]))
    return scale.back(centre - half), scale.back(centre + half)


def of_the_mean(runs: Runs, variance: Variance, scale: Scale) -> Interval | None:
    """Computes where the mean over runs lies on other examples of the same kind, with 95 %.

    Args:
        runs: the runs.
        variance: of their mean, from seeds and examples, in percent squared.
        scale: of the metric. Proportions have the interval of Wilson (1927, doi 10.1080/01621459.1927.10502953) for the
            number of independent examples that would give this variance (Korn and Graubard 1998, Survey Methodology
            24), correlations one on Fisher's scale.

    Returns:
        The interval, or None where the variance is not known.
    """
    if not variance.degrees:
        return None
    mean, width = runs.mean, quantile(CONFIDENCE, variance.degrees)
    if scale is PROPORTION:
        p = min(max(mean / 100.0, 0.0), 1.0)
        # Without a single error nothing but the number of examples says how rare errors are.
        count = 1e4 * p * (1.0 - p) / variance.value if variance.value > 0.0 and 0.0 < p < 1.0 else float(runs.examples)
        return _wilson(p, max(count, 1.0), width)
    if scale is CORRELATION:
        error = width * math.sqrt(variance.value)
        inner = mean - math.copysign(min(error, abs(mean) + 100.0), mean)
        centre = scale.to(mean)
        # The slope at the mean, which does not hold for long where the scale ends: there the way towards 0 counts.
        half = min(error * scale.slope(mean), _STEEP * abs(centre - scale.to(inner)))
        # The ends of the scale stand for what is beyond them.
        return min(scale.back(centre - half), mean), max(scale.back(centre + half), mean)
    half = width * math.sqrt(variance.value)
    return max(mean - half, -100.0), min(mean + half, 100.0)


def _wilson(p: float, count: float, width: float) -> Interval:
    square = width * width
    centre = (p + square / (2.0 * count)) / (1.0 + square / count)
    half = width * math.sqrt(p * (1.0 - p) / count + square / (4.0 * count * count)) / (1.0 + square / count)
    return 100.0 * max(0.0, min(p, centre - half)), 100.0 * min(1.0, max(p, centre + half))


def of_examples(influences: np.ndarray) -> Variance:
    """Estimates the variance of a mean over runs that comes from the choice of examples.

    Args:
        influences: of the examples on the score of each run, `[runs, n]`, or summed by clusters
            (`tasks.scoring.influence.sums`).

    Returns:
        In percent squared, with `n - 1` degrees of freedom.
    """
    count = influences.shape[-1]
    if count < 2:
        return UNKNOWN
    return Variance(float(influences.mean(0).var(ddof=1)) / count, count - 1.0)


def shared_by_both(influences: np.ndarray) -> Variance:
    """Estimates what of the variance of a mean is counted among examples and among seeds: their interaction.

    In a crossed design of runs and examples, the variance between the means of runs and that between the means of
    examples both hold the interaction, divided by the number of both (Cornfield and Tukey 1956,
    doi 10.1214/aoms/1177728067).

    Args:
        influences: as for `of_examples`.
    """
    runs, count = influences.shape
    if runs < 2 or count < 2:
        return UNKNOWN
    rest = influences - influences.mean(0) - influences.mean(1, keepdims=True) + influences.mean()
    degrees = (runs - 1.0) * (count - 1.0)
    return Variance(float((rest**2).sum()) / degrees / (runs * count), degrees)


def of_mean(examples: Variance, seeds: Variance, interaction: Variance) -> Variance:
    """Adds the variances of a mean that come from examples and seeds, without counting their interaction twice.

    Args:
        examples: as of `of_examples`, or of the difference of two systems.
        seeds: of the mean over runs, in percent squared.
        interaction: as of `shared_by_both`.
    """
    both = total((1.0, examples), (1.0, seeds))
    value = max(both.value - interaction.value, examples.value, seeds.value)
    return Variance(value, both.degrees)
