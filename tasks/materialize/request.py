"""What the data stage is asked for: one frozen, checked dataclass."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from tasks.catalogue import get_task
from tasks.encoding.spans import SpanConfig
from tasks.files.bad_rows import ON_BAD_ROW, OnBadRow
from tasks.system.errors import DataError

SOURCES = ("microworld", "files", "tfds", "hf")


@dataclass(frozen=True, kw_only=True)
class MaterializeRequest:
    """Which data to make, and in which shape.

    Attributes:
      source: `microworld` (generated text and tasks), or what lies below `directory`: `files` (official files), `tfds`
        (data sets of TensorFlow Datasets, prepared there when they are not) or `hf` (Hugging Face folders).
      directory: the data root; for the microworld the folder to generate it in ("" for one inside the output).
      microworld_seed: the seed of the generator.
      microworld_scale: its size, relative to the usual one, above 0 and at most 1.
      vocabulary: `train`, or a `vocab.txt` (absolute, or relative to the data root).
      vocabulary_size: the number of tokens.
      pretrain_corpora: pretraining texts: paths relative to the data root, `hf:DIR` or `tfds:NAME`, whatever the source
        of the tasks.
      pretrain_rates: how often rows are drawn from each corpus, relative to each other.
      pretrain_validation: the text of the validation rows ("": the last `validation_rows` rows are held out).
      pretrain_length: the number of tokens of a pretraining row.
      pretrain_max_rows: how many training rows to make at most (0: as many as the corpora give).
      sentence_pairs: whether pretraining rows are pairs with a next-sentence label.
      pretrain_seed: decides what is random about sentence pairs.
      validation_rows: the number of validation rows (with `pretrain_validation` at most as many; 0: all).
      tasks: names in the catalogue.
      task_length: the number of tokens of a row of a classification or regression task.
      span_length: the number of tokens of a window of a span task.
      span_stride: how far each window starts after the one before it, in tokens.
      max_query_length: how many tokens of a question are kept.
      on_bad_row: `error` refuses files with rows that cannot be used, `skip` leaves such rows out and counts them.
      processes: how many CPU threads to tokenise with; it does not change the result.
    """

    source: str
    directory: str = ""
    microworld_seed: int = 0
    microworld_scale: float = 1.0
    vocabulary: str = "train"
    vocabulary_size: int
    pretrain_corpora: tuple[str, ...]
    pretrain_rates: tuple[float, ...]
    pretrain_validation: str = ""
    pretrain_length: int
    pretrain_max_rows: int = 0
    sentence_pairs: bool = False
    pretrain_seed: int = 0
    validation_rows: int
    tasks: tuple[str, ...]
    task_length: int = 128
    span_length: int = 384
    span_stride: int = 128
    max_query_length: int = 64
    on_bad_row: OnBadRow = "error"
    processes: int = 2

    def __post_init__(self) -> None:
        """Checks every value that could only fail later."""
        for name in ("pretrain_corpora", "pretrain_rates", "tasks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _require(self.source in SOURCES, "source", self.source, f"one of {', '.join(SOURCES)}")
        _require(
            bool(self.directory) or self.source == "microworld", "directory", self.directory, "a folder of data files"
        )
        _require(0 < self.microworld_scale <= 1, "microworld_scale", self.microworld_scale, "above 0 and at most 1")
        _require(bool(self.vocabulary), "vocabulary", self.vocabulary, "'train' or the path of a vocab.txt")
        _require(bool(self.pretrain_corpora), "pretrain_corpora", self.pretrain_corpora, "at least one path")
        _require(
            len(set(self.pretrain_corpora)) == len(self.pretrain_corpora),
            "pretrain_corpora",
            self.pretrain_corpora,
            "no path twice",
        )
        _require(
            len(self.pretrain_rates) == len(self.pretrain_corpora)
            and all(rate > 0 and math.isfinite(rate) for rate in self.pretrain_rates),
            "pretrain_rates",
            self.pretrain_rates,
            f"{len(self.pretrain_corpora)} numbers above 0, one per corpus",
        )
        least = {
            "vocabulary_size": 6,
            "pretrain_length": 8,
            "pretrain_max_rows": 0,
            "pretrain_seed": 0,
            "validation_rows": 0 if self.pretrain_validation else 1,
            "task_length": 8,
            "span_length": 16,
            "span_stride": 1,
            "max_query_length": 1,
            "processes": 1,
        }
        for name, minimum in least.items():
            value = getattr(self, name)
            _require(type(value) is int and value >= minimum, name, value, f"an integer of at least {minimum}")
        _require(type(self.sentence_pairs) is bool, "sentence_pairs", self.sentence_pairs, "True or False")
        _require(
            self.max_query_length + 3 < self.span_length,
            "max_query_length",
            self.max_query_length,
            f"less than span_length - 3 = {self.span_length - 3}, to leave room for the context",
        )
        _require(len(set(self.tasks)) == len(self.tasks), "tasks", self.tasks, "no task twice")
        _require(self.on_bad_row in ON_BAD_ROW, "on_bad_row", self.on_bad_row, f"one of {', '.join(ON_BAD_ROW)}")
        for name in self.tasks:
            get_task(name)

    def span_config(self) -> SpanConfig:
        """The part that shapes the windows of span tasks."""
        return SpanConfig(length=self.span_length, stride=self.span_stride, max_query_length=self.max_query_length)

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> MaterializeRequest:
        """Makes a request of the `request` member of a `data.json`.

        Args:
          values: field -> value, lists for tuples.

        Returns:
          the request.

        Raises:
          DataError: on a field that does not exist.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise DataError(f"request: unknown field '{unknown[0]}'; known: {', '.join(sorted(known))}")
        return cls(**values)  # type: ignore[arg-type]


def _require(good: bool, name: str, value: object, wanted: str) -> None:
    if not good:
        raise DataError(f"{name} is {value!r}; expected {wanted}")
