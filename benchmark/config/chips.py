"""Chips as data: the figures behind estimates of latency."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.config.checks import Checked, ConfigError, setting

# A slice of TPUs: generation and chips along each axis of its network.
TOPOLOGY = r"v\d+[a-z]*:\d+x\d+(x\d+)?"


@dataclass(frozen=True, kw_only=True)
class ChipConfig(Checked):
    """Figures of one device; the files under gin/hardware/ give them with their sources. 0 and '' mean not known."""

    name: str = setting("unnamed")
    # Peak of matrix products, FLOP/s; like the next figure and `bytes_per_value` for every estimate.
    peak_flops: float = setting(0.0, at_least=0.0)
    # Bytes/s.
    memory_bandwidth: float = setting(0.0, at_least=0.0)
    # For the roofline, down to `fused_feedforward_bytes`: memory on the chip, in bytes and bytes/s.
    on_chip_bytes: float = setting(0.0, at_least=0.0)
    on_chip_bandwidth: float = setting(0.0, at_least=0.0)
    # Peak of elementwise work, FLOP/s.
    vector_flops: float = setting(0.0, at_least=0.0)
    # FLOP/s that products of an encoder's size reach, where it is less than the peak.
    sustained_flops: float = setting(0.0, at_least=0.0)
    # Each axis of a matrix product is padded to a multiple of it.
    tile: int = setting(1, at_least=1)
    # Fixed cost of one operation, seconds.
    op_overhead_s: float = setting(0.0, at_least=0.0)
    # Bytes of weights up to which the compiler makes one operation of a feed-forward network.
    fused_feedforward_bytes: float = setting(0.0, at_least=0.0)
    bytes_per_value: int = setting(4, at_least=1, at_most=8)
    # For the chip's compiler: turns its cycles into seconds.
    clock_hz: float = setting(0.0, at_least=0.0)
    # A slice that libtpu knows.
    topology: str = setting("", pattern=rf"({TOPOLOGY})?")
    # Cores of the slice that are one device.
    cores: int = setting(1, at_least=1)
    # Memory that programs may take; no result depends on it.
    memory_bytes: float = setting(0.0, at_least=0.0, changes_results=False)

    @property
    def dtype(self) -> str:
        """Type of the values that the figures are for, as records name it."""
        return {1: "int8", 2: "bfloat16", 4: "float32"}.get(self.bytes_per_value, f"{8 * self.bytes_per_value} bits")

    def require(self, method: str, *fields: str) -> None:
        """Refuses a chip that lacks a figure.

        Raises:
            ConfigError: one of the figures is missing; the message names the method and the chip's file.
        """
        for name in fields:
            if not getattr(self, name):
                accepted = f"a figure of {self.name!r} (gin/hardware/{self.name}.gin), which method {method!r} needs"
                raise ConfigError(f"ChipConfig.{name}", getattr(self, name), accepted)
