"""Chips as data: the figures that estimates of latency are made from."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.config.checks import Checked, ConfigError, setting

# A slice of TPUs: generation and chips along each axis of its network.
TOPOLOGY = r"v\d+[a-z]*:\d+x\d+(x\d+)?"


@dataclass(frozen=True, kw_only=True)
class ChipConfig(Checked):
    """Figures of one device; the files under gin/hardware/ give them with their sources. 0 and '' mean not known.

    For every estimate: `peak_flops` of matrix products, `memory_bandwidth` (bytes/s) and `bytes_per_value`. For the
    roofline: `tile`, to which each axis of a matrix product is padded; `sustained_flops`, the rate that products of an
    encoder's size reach where it is less than the peak; `vector_flops`, the peak of elementwise work; memory on the
    chip (`on_chip_bytes`, `on_chip_bandwidth`), `op_overhead_s`, the fixed cost of one operation, and the size of
    weights up to which the compiler makes one operation of a feed-forward network.
    For the chip's compiler: a `topology` that libtpu knows, the `cores` that are one device of it, and `clock_hz`,
    which turns cycles into seconds. `memory_bytes` is what programs may take; no result depends on it.
    """

    name: str = setting("unnamed")
    peak_flops: float = setting(0.0, at_least=0.0)
    memory_bandwidth: float = setting(0.0, at_least=0.0)
    on_chip_bytes: float = setting(0.0, at_least=0.0)
    on_chip_bandwidth: float = setting(0.0, at_least=0.0)
    vector_flops: float = setting(0.0, at_least=0.0)
    sustained_flops: float = setting(0.0, at_least=0.0)
    tile: int = setting(1, at_least=1)
    op_overhead_s: float = setting(0.0, at_least=0.0)
    fused_feedforward_bytes: float = setting(0.0, at_least=0.0)
    bytes_per_value: int = setting(4, at_least=1, at_most=8)
    clock_hz: float = setting(0.0, at_least=0.0)
    topology: str = setting("", pattern=rf"({TOPOLOGY})?")
    cores: int = setting(1, at_least=1)
    memory_bytes: float = setting(0.0, at_least=0.0, changes_results=False)

    @property
    def dtype(self) -> str:
        """The type that the figures are for, as records name it."""
        return {1: "int8", 2: "bfloat16", 4: "float32"}.get(self.bytes_per_value, f"{8 * self.bytes_per_value} bits")

    def require(self, method: str, *fields: str) -> None:
        """Refuses a chip that lacks a figure.

        Raises:
            ConfigError: one of the fields is not known; the message names the method and the chip's file.
        """
        for name in fields:
            if not getattr(self, name):
                accepted = f"a figure of {self.name!r} (gin/hardware/{self.name}.gin), which method {method!r} needs"
                raise ConfigError(f"ChipConfig.{name}", getattr(self, name), accepted)
