"""Estimates against what they estimate, as numbers and as a plot.

python -m tests.performance.estimates_plot docs/roofline_against_compiled.svg
"""

import csv
import sys
from pathlib import Path
from typing import NamedTuple

from benchmark.commands.calibrate_chip import agreement
from benchmark.config import EncoderConfig, SearchSpace
from benchmark.hardware.chips import shipped
from benchmark.hardware.roofline import estimate
from benchmark.search.space import decode
from tasks.system.repository import REPOSITORY

TABLE = REPOSITORY / "tests" / "data" / "tpu_v4_default_space.csv"
SHAPE = (1, 128)


class Row(NamedTuple):
    """An architecture and its compiled latency in seconds."""

    encoder: EncoderConfig
    compiled_s: float


def read_table(path: Path = TABLE) -> list[Row]:
    """The compiled latencies of the default search space."""
    space = SearchSpace(base=EncoderConfig())
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Row(decode(space, {name: int(row[name]) for name in space.FIELDS}), float(row["latency_s"]))
            for row in csv.DictReader(file)
        ]


def rooflines(rows: list[Row]) -> list[float]:
    """Roofline latencies of the chip that the table is for."""
    chip = shipped()["tpu_v4i"]
    return [estimate(row.encoder, chip, *SHAPE).latency_s for row in rows]


def plot(rows: list[Row], path: Path) -> None:
    """Draws one against the other, a colour for each number of feed-forward networks, larger for more heads."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "estimates"
    estimated, known = rooflines(rows), [row.compiled_s for row in rows]
    figure, axes = pyplot.subplots(figsize=(6.4, 5.2))
    for count, colour in ((2, "#1b6ca8"), (4, "#c8681c"), (6, "#4a8f3c")):
        for heads, size in ((1, 3), (2, 4), (4, 5), (8, 7)):
            chosen = [
                i
                for i, row in enumerate(rows)
                if (row.encoder.num_feedforward_networks, row.encoder.num_attention_heads) == (count, heads)
            ]
            axes.plot(
                [known[i] * 1e3 for i in chosen],
                [estimated[i] * 1e3 for i in chosen],
                linestyle="none",
                marker="o",
                markersize=size,
                markeredgewidth=0,
                color=colour,
                alpha=0.6,
                label=f"{count} feed-forward networks" if heads == 4 else None,
            )
    ends = [min(known) * 0.95e3, max(known) * 1.05e3]
    axes.plot(ends, ends, color="#777777", linewidth=0.8, label="equal")
    found = agreement(estimated, known)
    axes.set_title(f"{len(rows)} architectures: tau {found['tau']:.3f}, mean error {100 * found['mean_error']:.1f} %")
    axes.set_xlabel("compiled for one core of a TPU v4, ms (batch 1, length 128)")
    axes.set_ylabel("roofline, ms")
    axes.legend(frameon=False)
    figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")
    pyplot.close(figure)


if __name__ == "__main__":
    table = read_table()
    plot(table, Path(sys.argv[1]))
    sys.stdout.write(f"{agreement(rooflines(table), [row.compiled_s for row in table])}\n")
