"""Settings of the search: space of architectures, algorithm, latency."""

from __future__ import annotations

import typing
from dataclasses import dataclass

from benchmark.config.chips import ChipConfig
from benchmark.config.encoder import EncoderConfig
from benchmark.settings import Checked, setting

# Ways to know a latency without measuring it.
LATENCY_METHODS = ("compiled", "roofline")


@dataclass(frozen=True, kw_only=True)
class SearchSpace(Checked):
    """The student architectures of a track: all valid combinations of the listed values around `base`."""

    base: EncoderConfig = setting()
    num_hidden_layers: tuple[int, ...] = setting((24,), at_least=1)
    hidden_size: tuple[int, ...] = setting((128, 256, 384, 512), at_least=1)
    intra_bottleneck_size: tuple[int, ...] = setting((64, 96, 128, 160), at_least=1)
    num_attention_heads: tuple[int, ...] = setting((1, 2, 4, 8), at_least=1)
    intermediate_size: tuple[int, ...] = setting((384, 512, 640), at_least=1)
    num_feedforward_networks: tuple[int, ...] = setting((2, 4, 6), at_least=1)

    FIELDS: typing.ClassVar[tuple[str, ...]] = (
        "num_hidden_layers",
        "hidden_size",
        "intra_bottleneck_size",
        "num_attention_heads",
        "intermediate_size",
        "num_feedforward_networks",
    )

    def check(self) -> None:
        """Refuses empty, repeated or unordered values."""
        for name in self.FIELDS:
            values = getattr(self, name)
            if not values or tuple(sorted(set(values))) != values:
                self.refuse(name, "distinct values in rising order")


@dataclass(frozen=True, kw_only=True)
class SearchConfig(Checked):
    """The multi-objective search: masked-LM accuracy up, latency down.

    `accuracy_threshold` (percent) and `latency_threshold_s` (seconds) are the reference point of the hypervolume; a
    student worse than either does not count. `flash_fraction` shortens the full distillation for each trial.
    `parallel_trials` are proposed and run together, in threads of one process. Latency is that of `chip`, by the
    first of `latency_methods` that can be had on this machine (docs/hardware.md).
    """

    space: SearchSpace = setting()
    algorithm: str = setting("ax", choices=("ax", "random"))
    num_trials: int = setting(8, at_least=1)
    num_initial_trials: int = setting(4, at_least=1)
    parallel_trials: int = setting(1, at_least=1)
    flash_fraction: float = setting(0.05, at_least=1e-4, at_most=1.0)
    accuracy_threshold: float = setting(0.0, at_least=0.0, at_most=100.0)
    latency_threshold_s: float = setting(1.0, at_least=0.0)
    max_parameters: int = setting(0, at_least=0)
    chip: ChipConfig = setting()
    latency_methods: tuple[str, ...] = setting(("compiled", "roofline"), choices=LATENCY_METHODS)
    batch_size: int = setting(1, at_least=1)
    sequence_length: int = setting(128, at_least=1)
    num_found: int = setting(1, at_least=1)

    def check(self) -> None:
        """Refuses methods that are missing or repeated."""
        if not self.latency_methods or len(set(self.latency_methods)) != len(self.latency_methods):
            self.refuse("latency_methods", "distinct methods, at least one of " + ", ".join(LATENCY_METHODS))
