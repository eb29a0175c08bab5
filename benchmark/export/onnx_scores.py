"""Scores of exported graphs on the development set of their task, measured again through ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.evaluation import score
from benchmark.export.onnx_export import open_graph
from benchmark.export.onnx_precisions import FILES
from benchmark.training.batches import make_batch, row_lengths
from tasks.scoring import metrics

if TYPE_CHECKING:
    from tasks.arrays.token_arrays import TokenArrays
    from tasks.catalogue import TaskInfo

# Percentage points of the primary metric below float32 from which on lines and card say it in words.
NOTABLE_LOSS = 1.0


@dataclass(frozen=True)
class GraphFile:
    """A graph of an export.

    Attributes:
        precision: `float32`, `int8` or `float16`.
        name: its path in the exported folder.
        num_bytes: its size.
        scores: by metric, in percent; empty where nothing was scored.
    """

    precision: str
    name: str
    num_bytes: int
    scores: dict[str, float]

    @property
    def mebibytes(self) -> str:
        """Its size in words."""
        return f"{self.num_bytes / 2**20:.2f}"


@dataclass(frozen=True)
class GraphFiles:
    """The graphs of an export, float32 first, and what they were scored on.

    Attributes:
        files: the graphs.
        task: title of the task; '' where nothing was scored.
        metric: the primary metric of the task.
        num_examples: examples of the development set.
        recorded: what the run scored with the same parameters; None where the record does not have it.
        unscored: the reason why nothing was scored, else ''.
    """

    files: tuple[GraphFile, ...]
    task: str = ""
    metric: str = ""
    num_examples: int = 0
    recorded: float | None = None
    unscored: str = ""

    def difference(self, file: GraphFile) -> float:
        """Returns how far a graph's primary score is above that of float32, in percentage points."""
        return file.scores[self.metric] - self.files[0].scores[self.metric]

    def losses(self) -> list[str]:
        """Words the losses of `NOTABLE_LOSS` or more."""
        return [
            f"{file.name} is {-self.difference(file):.2f} points of {self.metric} below {self.files[0].name}."
            for file in self.files
            if file.scores and self.difference(file) <= -NOTABLE_LOSS
        ]

    def lines(self) -> list[str]:
        """Words sizes and scores for the command line."""
        if self.unscored:
            return [*(f"{file.name}: {file.mebibytes} MiB" for file in self.files), f"not scored: {self.unscored}"]
        run = "" if self.recorded is None else f", in the run {self.recorded:.2f}"
        lines = [f"development set of {self.task}, {self.num_examples:,} examples, {self.metric} in percent{run}:"]
        for file in self.files:
            change = "" if file is self.files[0] else f" ({self.difference(file):+.2f})"
            lines.append(f"  {file.name}: {file.mebibytes} MiB, {file.scores[self.metric]:.2f}{change}")
        return lines + self.losses()


@dataclass(frozen=True)
class DevelopmentSet:
    """Labelled rows that graphs are scored on.

    Attributes:
        task: their task.
        rows: the rows.
        pad_id: id of padding.
        length: tokens of each row, with padding, in the run.
    """

    task: TaskInfo
    rows: TokenArrays
    pad_id: int
    length: int


def graph_files(
    directory: Path,
    precisions: tuple[str, ...],
    data: DevelopmentSet | None = None,
    recorded: float | None = None,
    unscored: str = "",
) -> GraphFiles:
    """Describes the graphs of an exported folder, and scores them where there are rows.

    Args:
        directory: the folder.
        precisions: those of the graphs in it, float32 first.
        data: a labelled development set.
        recorded: see `GraphFiles`.
        unscored: why there is none.
    """
    paths = {name: directory / FILES[name] for name in precisions}
    sizes = {name: path.stat().st_size for name, path in paths.items()}
    if data is None:
        files = [GraphFile(name, FILES[name], size, {}) for name, size in sizes.items()]
        return GraphFiles(tuple(files), unscored=unscored)
    task, references, files = data.task, score.load_references(data.task, data.rows), []
    for name, path in paths.items():
        result = score.to_result(task, predict(path, data), data.rows, references)
        scores = metrics.score(task, result["predictions"], references)
        files.append(GraphFile(name, FILES[name], sizes[name], scores))
    return GraphFiles(tuple(files), task.title, task.primary_metric, len(references), recorded)


def predict(path: Path, data: DevelopmentSet) -> np.ndarray:
    """Runs a graph over rows, each alone.

    The int8 graph takes the range of its activations from all of a call: in a batch, the scores of a row would depend
    on its neighbours. A row keeps one token of its padding, because MobileBERT's trigram input reads the token after
    the last: without it the answers are not those of the run.

    Returns:
        As `benchmark.evaluation.predict.predict`; span logits at other padding are -inf.
    """
    graph = open_graph(path)
    names = [entry.name for entry in graph.get_inputs()]
    lengths = np.minimum(row_lengths(data.rows, data.pad_id) + 1, data.length)
    answers = []
    for row, length in enumerate(lengths):
        batch = make_batch(data.rows, np.array([row]), int(length), data.pad_id)
        answer = graph.run(None, {name: np.asarray(batch[name], np.int64) for name in names})
        if data.task.kind == "span":
            logits = np.full((int(lengths.max()), 2), -np.inf, np.float32)
            logits[:length] = np.stack([answer[0][0], answer[1][0]], axis=-1)
            answers.append(logits)
        else:
            answers.append(answer[0][0])
    values = np.stack(answers)
    return values[:, 0] if data.task.kind == "regression" else values
