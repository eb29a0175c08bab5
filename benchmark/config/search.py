"""Settings of the search: space of architectures, algorithm, latency."""

from __future__ import annotations

import dataclasses
import itertools
import typing
from dataclasses import dataclass

from benchmark.config import conditions
from benchmark.config.checks import Checked, ConfigError, setting
from benchmark.config.chips import ChipConfig
from benchmark.config.encoder import EncoderConfig
from benchmark.config.executor import ExecutorConfig

# Methods of a latency that is known before a trial is trained: two estimate that of a chip, one measures this machine.
MEASURED = "measured"
LATENCY_METHODS = ("compiled", "roofline", MEASURED)
DEFAULT_LATENCY_THRESHOLD_S = 1.0
# What a search maximises -> its name in the results of trials, where its standard error has `_stderr` behind the name.
# Both are percentages, from the same predictions on validation text.
OBJECTIVES = {"masked_lm_accuracy": "accuracy", "teacher_agreement": "teacher_agreement"}
# Algorithms that propose the next architectures (docs/search.md).
ALGORITHMS = ("ax", "nsga2", "sobol", "random", "exhaustive")


@dataclass(frozen=True, kw_only=True)
class SearchSpace(Checked):
    """Student architectures of a track: all valid combinations of the listed values around `base`."""

    base: EncoderConfig = setting()
    num_hidden_layers: tuple[int, ...] = setting((24,), at_least=1)
    hidden_size: tuple[int, ...] = setting((128, 256, 384, 512), at_least=1)
    intra_bottleneck_size: tuple[int, ...] = setting((64, 96, 128, 160), at_least=1)
    num_attention_heads: tuple[int, ...] = setting((1, 2, 4, 8), at_least=1)
    intermediate_size: tuple[int, ...] = setting((384, 512, 640), at_least=1)
    num_feedforward_networks: tuple[int, ...] = setting((2, 4, 6), at_least=1)
    # Relations that every point must meet, for example `intermediate_size >= 2 * intra_bottleneck_size`; names are
    # those of EncoderConfig. Heads must divide the attention's width in any case.
    conditions: tuple[str, ...] = setting(())

    FIELDS: typing.ClassVar[tuple[str, ...]] = (
        "num_hidden_layers",
        "hidden_size",
        "intra_bottleneck_size",
        "num_attention_heads",
        "intermediate_size",
        "num_feedforward_networks",
    )

    def check(self) -> None:
        """Refuses empty or unordered values, conditions that cannot be read, and a space without architectures."""
        for name in self.FIELDS:
            values = getattr(self, name)
            if not values or tuple(sorted(set(values))) != values:
                self.refuse(name, "distinct values in rising order")
        numbers = {f.name for f in dataclasses.fields(EncoderConfig) if type(getattr(self.base, f.name)) is int}
        for text in self.conditions:
            try:
                unknown = [n for n in conditions.parse(text).names() if n not in numbers | set(self.FIELDS)]
            except ValueError as error:
                self.refuse("conditions", str(error))
            if unknown:
                self.refuse("conditions", f"names out of {', '.join(sorted(numbers | set(self.FIELDS)))}")
        self._refuse_empty()

    def _refuse_empty(self) -> None:
        """Refuses a space without an architecture; stops at the first one."""
        refused: ConfigError | None = None
        encoders = 0
        for values in itertools.product(*(getattr(self, name) for name in self.FIELDS)):
            try:
                encoder = dataclasses.replace(self.base, **dict(zip(self.FIELDS, values, strict=True)))
            except ConfigError as error:
                refused = error
                continue
            if self.allows(encoder):
                return
            encoders += 1
        if encoders:
            self.refuse("conditions", f"conditions that one of the {encoders} architectures of the space meets")
        # Every combination was refused; the last one stands for all of them.
        field = refused.selector.rpartition(".")[2] if refused else ""
        name = field if field in self.FIELDS else "hidden_size"
        self.refuse(name, f"a value that gives an architecture with the other fields; the last one tried: {refused}")

    def allows(self, encoder: EncoderConfig) -> bool:
        """Returns True where the conditions hold for an architecture."""
        return all(conditions.parse(text).holds(vars(encoder)) for text in self.conditions)

    def contains(self, encoder: EncoderConfig) -> bool:
        """Returns True for a point: its values are listed, the rest is that of `base`, and the conditions hold."""
        values = {name: getattr(encoder, name) for name in self.FIELDS}
        listed = all(value in getattr(self, name) for name, value in values.items())
        return listed and {**vars(self.base), **values} == vars(encoder) and self.allows(encoder)


@dataclass(frozen=True, kw_only=True)
class SearchConfig(Checked):
    """The multi-objective search: masked-LM accuracy or agreement with the teacher up, latency down."""

    space: SearchSpace = setting()
    # `teacher_agreement` is the share of masked tokens for which student and teacher have the same likeliest token; it
    # needs no labels. Every trial measures both.
    objective: str = setting("masked_lm_accuracy", choices=tuple(OBJECTIVES), added=True)
    algorithm: str = setting("ax", choices=ALGORITHMS)
    num_trials: int = setting(8, at_least=1)
    num_initial_trials: int = setting(4, at_least=1)
    # Trials that are proposed and run at a time, by `executor`.
    parallel_trials: int = setting(1, at_least=1)
    # Proposes the next trial whenever one ends, instead of `parallel_trials` at a time.
    asynchronous: bool = setting(False)
    executor: ExecutorConfig = setting(ExecutorConfig())
    # A search by `ax` is also kept as an Ax experiment in this database; "" is an SQLite file in the run's folder.
    storage_url: str = setting("", changes_results=False)
    # Shares of its steps after which a trial is evaluated; it continues only among the best 1 / `reduction_factor`
    # (docs/search.md). Without rungs all trials are trained to the end.
    rungs: tuple[float, ...] = setting((), at_least=0.001, at_most=0.999)
    reduction_factor: float = setting(2.0, at_least=1.0)
    # Architectures that are tried first; they count as initial trials.
    attach: tuple[EncoderConfig, ...] = setting(())
    # The search ends early when so many trials in a row (0: never) raised the hypervolume by less than `plateau_gain`,
    # a share of the box between thresholds and ideal.
    plateau_trials: int = setting(0, at_least=0)
    plateau_gain: float = setting(0.001, at_least=0.0, at_most=1.0)
    # Length of a trial's flash distillation, as a share of the full one.
    flash_fraction: float = setting(0.05, at_least=1e-4, at_most=1.0)
    # Percent and seconds: the reference point of the hypervolume. A student worse than either does not count. The first
    # is a threshold of the objective, whichever that is.
    accuracy_threshold: float = setting(0.0, at_least=0.0, at_most=100.0)
    latency_threshold_s: float = setting(DEFAULT_LATENCY_THRESHOLD_S, at_least=0.0)
    max_parameters: int = setting(0, at_least=0)
    # Latency is that of this chip, by the first of `latency_methods` that works here (docs/hardware.md); with
    # ('measured',) it is that of this machine, and the chip only orders what is not measured yet.
    chip: ChipConfig = setting()
    latency_methods: tuple[str, ...] = setting(("compiled", "roofline"), choices=LATENCY_METHODS)
    batch_size: int = setting(1, at_least=1)
    sequence_length: int = setting(128, at_least=1)
    num_found: int = setting(1, at_least=1)

    def check(self) -> None:
        """Refuses methods that do not go together, rungs out of order, and architectures that are no points."""
        if not self.latency_methods or len(set(self.latency_methods)) != len(self.latency_methods):
            self.refuse("latency_methods", "distinct methods, at least one of " + ", ".join(LATENCY_METHODS))
        if self.measures_latency:
            self._refuse_disturbed()
        if tuple(sorted(set(self.rungs))) != self.rungs:
            self.refuse("rungs", "distinct shares in rising order")
        for encoder in self.attach:
            if not self.space.contains(encoder):
                self.refuse("attach", "architectures that are points of SearchConfig.space")

    @property
    def measures_latency(self) -> bool:
        """True where the latency of the search is measured on this machine."""
        return MEASURED in self.latency_methods

    @property
    def outcome(self) -> str:
        """Name of the objective in the results of trials."""
        return OBJECTIVES[self.objective]

    def _refuse_disturbed(self) -> None:
        """Refuses measured latency beside estimates of a chip, or beside trials that train."""
        if len(self.latency_methods) > 1:
            self.refuse("latency_methods", "('measured',) alone, as the other methods are those of SearchConfig.chip")
        if self.asynchronous and self.parallel_trials > 1:
            self.refuse(
                "asynchronous", "False with latency_methods = ('measured',): nothing is measured beside a trial"
            )
        if self.executor.name != "local":
            self.executor.refuse("name", "'local' with latency_methods = ('measured',), which measures this machine")

    def of_any_length(self) -> SearchConfig:
        """Returns what a trial depends on: the settings without the number of trials and what is made of them."""
        return dataclasses.replace(self, num_trials=1, num_found=1)
