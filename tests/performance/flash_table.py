"""Makes tests/data/flash_table.csv of the journal of a search by gin/search/flash_table.gin.

`python -m tests.performance.flash_table runs/flash_table/search/journal.jsonl tests/data/flash_table.csv`
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from benchmark.search.journal import read_trials

FIELDS = (
    "hidden_size",
    "intra_bottleneck_size",
    "num_attention_heads",
    "intermediate_size",
    "num_feedforward_networks",
)
# Shares of the steps after which a trial was evaluated, and the columns that hold its accuracy there.
FRACTIONS = {0.25: "accuracy_25", 0.5: "accuracy_50", 1.0: "accuracy"}


def main() -> None:
    """Writes a row for every completed trial, in the order of the fields."""
    journal, out = map(Path, sys.argv[1:])
    rows = []
    for trial in read_trials(journal):
        if trial.status == "completed":
            found = [rung["accuracy"] for rung in trial.rungs] + [trial.result["accuracy"]]
            values = [trial.point[name] for name in FIELDS]
            numbers = [f"{value:.4f}" for value in (*found, trial.result["accuracy_stderr"])]
            rows.append([*values, *numbers, trial.result["steps"]])
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*FIELDS, *FRACTIONS.values(), "accuracy_stderr", "steps"])
        writer.writerows(sorted(rows))


if __name__ == "__main__":
    main()
