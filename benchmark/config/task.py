"""Settings of an own task: labelled files with named columns, which become a task without code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from benchmark.config.checks import LARGEST_SEED, Checked, setting
from tasks.system.compression import COMPRESSIONS

if TYPE_CHECKING:
    from tasks.materialize.request import OwnTask

# Ending of a file -> format. `.json` is the nested form of SQuAD.
FORMATS: Mapping[str, str] = MappingProxyType(
    {".tsv": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet"}
)
# The metrics of each kind of task, those of a task that names none in front.
METRICS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "classification": ("accuracy", "macro_f1", "f1", "matthews"),
        "regression": ("spearman", "pearson"),
        "span": ("f1", "exact_match"),
    }
)
_ALL_METRICS = tuple(dict.fromkeys(metric for metrics in METRICS.values() for metric in metrics))
_DEFAULT_METRICS: Mapping[str, tuple[str, ...]] = MappingProxyType({**METRICS, "classification": ("accuracy",)})


@dataclass(frozen=True, kw_only=True)
class TaskConfig(Checked):
    """A task on files of your own; docs/how_to/own_task.md.

    Paths are absolute, or below `DataConfig.directory` (below the current folder where that is ''); environment
    variables in them are expanded when the run starts.
    """

    # With a version, as those of the catalogue: another file or another definition is another version.
    name: str = setting(pattern=r"[a-z0-9][a-z0-9_]{0,50}_v[1-9][0-9]{0,4}")
    # The name on the page; '' for `name`.
    title: str = setting("", pattern=r"[^\n]{0,80}")
    # `classification`: one of a set of labels; `regression`: a number; `span`: an answer that is cut out of a context.
    kind: str = setting("classification", choices=tuple(METRICS))
    train: str = setting()
    # The rows that scores are of; '' holds `validation_fraction` of the training rows out.
    validation: str = setting("")
    # Rows without labels; they become arrays, and nothing is scored on them.
    test: str = setting("")
    # Share of the training rows that are held out where `validation` is ''. Row `n` of the file, from 0 and without
    # empty lines, is ranked by the SHA-256 of the text 'split_seed n': the first ones are held out, on every machine.
    validation_fraction: float = setting(0.1, at_least=0.001, at_most=0.9)
    split_seed: int = setting(0, at_least=0, at_most=LARGEST_SEED)
    # '' takes the ending of each file, before that of a compression.
    format: str = setting("", choices=("", *dict.fromkeys(FORMATS.values())))
    # One column, or two: the model reads them in this order. () for 'text', and in a span task for the question's and
    # the context's: 'question', 'context'.
    text_columns: tuple[str, ...] = setting((), pattern=r".+")
    # '' for 'label', and in a span task for the answers': 'answers'.
    label_column: str = setting("")
    # A label's position is its id. () takes the different labels of the training file: in the order of their numbers if
    # all are whole numbers, else of their characters.
    label_names: tuple[str, ...] = setting((), pattern=r"[^\n]+")
    # Lowest and highest label of a regression; () for no limit. Predictions are cut to it.
    label_range: tuple[float, ...] = setting(())
    # Questions of a span task may have no answer: scores by the rules of SQuAD v2.0 in place of v1.1.
    unanswerable: bool = setting(False)
    # The first one ranks; () for accuracy, for Spearman's and Pearson's correlation, or for F1 and exact match. `f1` of
    # a classification is that of its second label, where there are two.
    metrics: tuple[str, ...] = setting((), choices=_ALL_METRICS)

    def check(self) -> None:
        """Refuses files, columns, labels and metrics that do not go together."""
        self._check_files()
        number = {"span": (0, 2), "classification": (0, 1, 2), "regression": (0, 1, 2)}[self.kind]
        if len(self.text_columns) not in number or len(set(self.columns)) != len(self.columns):
            accepted = "two columns, question and context" if self.kind == "span" else "one column, or two"
            self.refuse("text_columns", f"{accepted}, none of them twice or the label_column {self.columns[-1]!r}")
        if self.label_names and (self.kind != "classification" or len(self.label_names) < 2):
            self.refuse("label_names", "() for those of the training file, or at least two, of kind = 'classification'")
        if len(set(self.label_names)) != len(self.label_names):
            self.refuse("label_names", "no label twice")
        if any(name != name.strip() for name in self.label_names):
            self.refuse("label_names", "labels without white space around them, which is cut off in files too")
        if self.label_range and (
            self.kind != "regression" or len(self.label_range) != 2 or self.label_range[0] >= self.label_range[1]
        ):
            self.refuse("label_range", "(), or (lowest, highest) where kind = 'regression'")
        if self.unanswerable and self.kind != "span":
            self.refuse("unanswerable", f"False where kind = {self.kind!r}")
        if not set(self.metrics) <= set(METRICS[self.kind]) or len(set(self.metrics)) != len(self.metrics):
            self.refuse("metrics", f"those of kind = {self.kind!r}, each once: {', '.join(METRICS[self.kind])}")
        if "f1" in self.metrics and self.kind == "classification" and len(self.label_names) not in (0, 2):
            self.refuse("metrics", f"'macro_f1' in place of 'f1', which needs two labels, not {len(self.label_names)}")

    def _check_files(self) -> None:
        """Refuses files of unknown formats, and two splits of one file."""
        for field, path in self.paths.items():
            if not path and field == "train":
                self.refuse(field, "the path of the training file")
            if not path:
                continue
            if not self.format and not self.format_of(path):
                self.refuse(
                    field,
                    f"a file that ends in {', '.join(FORMATS)} (and {', '.join(COMPRESSIONS)}), or TaskConfig.format",
                )
            if self.format_of(path) == "json" and self.kind != "span":
                accepted = "a table or .jsonl: the nested JSON of SQuAD is for kind = 'span'"
                self.refuse("format" if self.format else field, accepted)
            if self.format_of(path) == "parquet" and path.endswith(COMPRESSIONS):
                self.refuse(field, "an uncompressed .parquet file, which is compressed inside")
            if list(self.paths.values()).count(path) > 1:
                self.refuse(field, "another file for each split; '' as validation holds rows of the training file out")

    @property
    def paths(self) -> dict[str, str]:
        """Split -> path as it is written, '' where there is none."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def format_of(self, path: str) -> str:
        """Format of a file, '' where it is not known."""
        name = path.lower()
        for compression in COMPRESSIONS:
            name = name.removesuffix(compression)
        return self.format or FORMATS.get(Path(name).suffix, "")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the texts, and that of the label."""
        span = self.kind == "span"
        texts = self.text_columns or (("question", "context") if span else ("text",))
        return (*texts, self.label_column or ("answers" if span else "label"))

    def path_of(self, field: str, root: Path) -> Path:
        """Expands the environment variables in a path and places it below `root`.

        Raises:
            ConfigError: one of them is not set, or is empty.
        """
        return root / self.expanded(field, "a path")

    def request(self, root: Path | None) -> OwnTask:
        """Makes the definition for the data stage.

        Args:
            root: the folder of relative paths; None leaves all paths as they are written.

        Raises:
            ConfigError: as `path_of`.
        """
        from tasks.materialize.request import OwnFile, OwnTask

        given = [(split, path) for split, path in self.paths.items() if path]
        files = [
            OwnFile(
                split=split,
                path=path if root is None else str(self.path_of(split, root)),
                format=self.format_of(path),  # type: ignore[arg-type]
            )
            for split, path in given
        ]
        values: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("name", "kind", "validation_fraction", "split_seed", "label_names", "label_range")
        }
        return OwnTask(
            **values,
            title=self.title or self.name,
            files=tuple(files),
            text_columns=self.columns[:-1],
            label_column=self.columns[-1],
            unanswerable=self.unanswerable,
            metrics=self.metrics or _DEFAULT_METRICS[self.kind],
        )
