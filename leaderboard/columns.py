"""The columns of plain values that the table of systems shows: one row each, for the page and for `records.csv`.

Rank, name, kind, scores and speed-up have special cells (`static/columns.js`). See
docs/how_to/add_a_leaderboard_column.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from benchmark.records.csv_text import Cell

Family = Literal["latency", "system", "architecture"]


@dataclass(frozen=True)
class Column:
    """One column."""

    # `latency` for a value of each latency block, of which the page shows the chosen group's; `system` and
    # `architecture` for values of the record. Those of an architecture are not in `records.csv`.
    family: Family
    # Name in the page's address and downloads.
    key: str
    # Head of the column.
    label: str
    # Explanation shown at the head.
    title: str
    # Fields of the record or of the latency block that lead to the value, joined by dots.
    path: str
    # A function of `format` in `static/dom.js`, or `text`.
    format: str
    # True where the page shows it before a reader chooses columns.
    shown: bool = True

    def value(self, start: Any) -> Cell:
        """Follows `path` from a record or a latency block; returns None where a part of the path is None."""
        for name in self.path.split("."):
            if start is None:
                return None
            start = start[name] if isinstance(start, Mapping) else getattr(start, name)
        return start


def _architecture(field: str) -> Column:
    title = f"Architecture: {field}"
    return Column("architecture", field, field, title, f"system.encoder.{field}", "plain", shown=False)


COLUMNS = (
    Column("latency", "latency", "Latency (ms)", "Median of one forward pass", "latency_s", "milliseconds"),
    Column("system", "trust", "Trust", "Degree of confirmation of the numbers", "trust", "text", shown=False),
    Column(
        "system",
        "parameters",
        "Parameters",
        "Encoder with embeddings, without task heads",
        "system.parameters",
        "count",
    ),
    Column(
        "system",
        "teacher_agreement",
        "Agreement (%)",
        "Share of masked tokens of validation text for which the likeliest token is the teacher's",
        "training.masked_lm.teacher_agreement",
        "score",
        shown=False,
    ),
    Column(
        "system",
        "teacher_kl",
        "KL (nats)",
        "Mean divergence of the teacher's distribution over masked tokens from that of the system",
        "training.masked_lm.teacher_kl",
        "fraction",
        shown=False,
    ),
    Column(
        "system",
        "pseudo_perplexity",
        "Pseudo-perplexity",
        "On some rows of validation text, each token masked alone",
        "training.masked_lm.pseudo_perplexity",
        "significant",
        shown=False,
    ),
    Column("system", "flops", "FLOPs", "Matrix products of one forward pass", "system.flops", "count"),
    _architecture("num_hidden_layers"),
    _architecture("hidden_size"),
    _architecture("intra_bottleneck_size"),
    _architecture("num_attention_heads"),
    _architecture("intermediate_size"),
    _architecture("num_feedforward_networks"),
)


def of_family(family: Family) -> Iterator[Column]:
    """Yields the columns of one family, in their order."""
    return (column for column in COLUMNS if column.family == family)
