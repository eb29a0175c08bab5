"""Settings of the search: target chip, space of architectures, algorithm."""

from __future__ import annotations

import typing
from dataclasses import dataclass

from benchmark.config.encoder import EncoderConfig
from benchmark.settings import Checked, setting


@dataclass(frozen=True, kw_only=True)
class ChipConfig(Checked):
    """Figures of one chip for the roofline estimate; every shipped file under gin/hardware/ names their sources.

    `tile` is the granularity to which each axis of a matrix product is padded; `op_overhead_s` the fixed cost of one
    operation. `memory_bytes` and `clock_hz` are for programs that are compiled ahead of time (0: not known); no result
    depends on them.
    """

    name: str = setting("cpu_2core")
    peak_flops: float = setting(1e11, at_least=1.0)
    memory_bandwidth: float = setting(1e10, at_least=1.0)
    on_chip_bytes: float = setting(0.0, at_least=0.0)
    on_chip_bandwidth: float = setting(1e11, at_least=1.0)
    tile: int = setting(1, at_least=1)
    op_overhead_s: float = setting(0.0, at_least=0.0)
    bytes_per_value: int = setting(4, at_least=1, at_most=8)
    memory_bytes: float = setting(0.0, at_least=0.0, changes_results=False)
    clock_hz: float = setting(0.0, at_least=0.0, changes_results=False)


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
    `parallel_trials` are proposed and run together, in threads of one process.
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
    batch_size: int = setting(1, at_least=1)
    sequence_length: int = setting(128, at_least=1)
    num_found: int = setting(1, at_least=1)
