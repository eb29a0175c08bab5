"""Settings of the data stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.config.checkpoint import CheckpointConfig
from benchmark.config.checks import LARGEST_SEED, Checked, ConfigError, FrozenMapping, missing_variables, setting
from benchmark.config.task import TaskConfig
from tasks.system.compression import existing_file

if TYPE_CHECKING:
    from tasks.materialize.request import MaterializeRequest

_VOCABULARIES = "'train', 'checkpoint' or the path of a vocab.txt or of a folder with tokenizer files"


def _answer(test: Callable[[], bool]) -> bool:
    """Asks a question about a path; False where the path cannot be looked at."""
    try:
        return test()
    except OSError:
        return False


@dataclass(frozen=True, kw_only=True)
class DataConfig(Checked):
    """Sources of the text, and the token arrays that are made of it.

    Defaults and limits stand here alone; the data stage's request is a plain record of them. Lengths are in tokens.
    """

    # `microworld` generates text and tasks; the others read files below `directory` (docs/data.md).
    source: str = setting("microworld", choices=("microworld", "files", "tfds", "hf"))
    # The data root. Environment variables in it are expanded when the run starts, so that the same settings have the
    # same fingerprint on every machine. For the microworld: the folder to generate it in, "" for one in the run's own.
    directory: str = setting("")
    microworld_seed: int = setting(0, at_least=0, at_most=LARGEST_SEED)
    # Size relative to the usual one.
    microworld_scale: float = setting(1.0, at_least=0.001, at_most=1.0)
    # `train`, the path of a vocab.txt or of a folder with the files of a Hugging Face tokenizer, absolute or below
    # `directory`, or `checkpoint`: that of the checkpoint below. Environment variables are expanded as in `directory`.
    vocabulary: str = setting("train")
    # The tokenizer of the run where the vocabulary is `checkpoint`; None takes the run's first checkpoint.
    checkpoint: CheckpointConfig | None = setting(None)
    vocabulary_size: int = setting(1024, at_least=64)
    # Paths below `directory`, `hf:DIR` or `tfds:NAME`, whatever the source of the tasks. () where nothing is trained on
    # text; the masked-LM accuracy is not measured then.
    pretrain_corpora: tuple[str, ...] = setting(("pretrain/microworld/corpus.wikiextractor.txt",))
    # How often rows are drawn from each corpus, relative to each other.
    pretrain_rates: tuple[float, ...] = setting((1.0,))
    # The text of the validation rows; "" holds the last `validation_rows` rows of the corpora out.
    pretrain_validation: str = setting("pretrain/microworld/validation.wikiextractor.txt")
    pretrain_length: int = setting(64, at_least=8)
    # 0: as many as the corpora give.
    pretrain_max_rows: int = setting(0, at_least=0)
    # Pretraining rows are pairs with a next-sentence label.
    sentence_pairs: bool = setting(False)
    # Seeds the random choices of sentence pairs.
    pretrain_seed: int = setting(0, at_least=0, at_most=LARGEST_SEED)
    # At most as many as `pretrain_validation` gives, 0 for all of them.
    validation_rows: int = setting(512, at_least=0)
    # So many of them, evenly spaced, measure the pseudo-perplexity, which masks each token in a copy of its row; 0
    # leaves it out.
    pseudo_perplexity_rows: int = setting(32, at_least=0, added=True)
    # Names of the catalogue, whose files the source gives, and of own tasks.
    tasks: tuple[str, ...] = setting(("glue_sst2_v1",))
    # Tasks on files of your own, whatever the source of the others.
    own_tasks: tuple[TaskConfig, ...] = setting(())
    # Training files instead of the official ones: name of a task -> name of a file in its folder, such as
    # {'glue_qqp_v1': 'train.sample-9999.tsv.gz'}. A score after training on one has a column of its own.
    train_files: Mapping[str, str] = setting(FrozenMapping(), added=True)
    # A row of a classification or regression task.
    task_length: int = setting(48, at_least=8)
    # A window of a span task, and how far each window starts after the one before it.
    span_length: int = setting(96, at_least=16)
    span_stride: int = setting(32, at_least=1)
    # Question tokens that are kept.
    max_query_length: int = setting(24, at_least=4)
    # Rows of task files that cannot be used: `error` stops, `skip` leaves them out, counts them and names the first few
    # in the records.
    on_bad_row: str = setting("error", choices=("error", "skip"))

    def check(self) -> None:
        """Refuses lists and lengths that do not go together, and files without a folder."""
        if not self.vocabulary:
            self.refuse("vocabulary", _VOCABULARIES)
        if len(set(self.pretrain_corpora)) != len(self.pretrain_corpora):
            self.refuse("pretrain_corpora", "no path twice")
        if not self.pretrain_corpora and self.vocabulary == "train":
            self.refuse("pretrain_corpora", "at least one path to train the vocabulary on, or another vocabulary")
        if len(self.pretrain_rates) != len(self.pretrain_corpora):
            self.refuse("pretrain_rates", f"one rate for each of the {len(self.pretrain_corpora)} pretrain_corpora")
        if min(self.pretrain_rates, default=1.0) <= 0:
            self.refuse("pretrain_rates", "numbers above 0")
        if self.pretrain_corpora and not self.validation_rows and not self.pretrain_validation:
            self.refuse("validation_rows", "an integer >= 1; 0 (all rows) needs a file as pretrain_validation")
        if self.source != "microworld" and not self.directory:
            self.refuse("directory", f"the folder of the data when source = '{self.source}'")
        if not self.tasks:
            self.refuse("tasks", "at least one task name")
        if len(set(self.tasks)) != len(self.tasks):
            self.refuse("tasks", "no task twice")
        own = [task.name for task in self.own_tasks]
        for task in self.own_tasks:
            if own.count(task.name) > 1:
                task.refuse("name", "another name for each own task")
            if task.name not in self.tasks:
                self.refuse("tasks", f"{task.name!r} too, which DataConfig.own_tasks defines")
        self._check_train_files(own)
        # [CLS] question [SEP] context [SEP], with at least one token of context.
        if self.max_query_length + 3 >= self.span_length:
            room = self.span_length - 3
            self.refuse("max_query_length", f"less than span_length - 3 = {room}, to leave room for the context")

    def _check_train_files(self, own: list[str]) -> None:
        """Refuses training files of tasks that the run lacks or reads from elsewhere, and paths in place of names."""
        if self.train_files and self.source != "files":
            self.refuse("train_files", f"{{}} where source = '{self.source}': other files need source = 'files'")
        for task, file in self.train_files.items():
            if task in own or task not in self.tasks:
                known = ", ".join(name for name in self.tasks if name not in own)
                self.refuse("train_files", f"names of DataConfig.tasks that are in the catalogue: {known or 'none'}")
            if not file or file in (".", "..") or set(file) & set("/\\\0\n"):
                accepted = "the name of a file in the folder of the task, without a folder"
                raise ConfigError("DataConfig.train_files", file, accepted, entry=task)

    def expanded_directory(self) -> str:
        """Expands the environment variables in `directory`.

        Raises:
            ConfigError: one of them is not set, or is empty.
        """
        return self.expanded("directory", "a folder")

    def expanded_vocabulary(self) -> str:
        """Expands the environment variables in `vocabulary`; raises as `expanded_directory` does."""
        return self.expanded("vocabulary", _VOCABULARIES)

    def check_files(self, *, may_be_elsewhere: bool = False) -> None:
        """Refuses a folder or a vocabulary that is not there.

        Args:
            may_be_elsewhere: accepts an environment variable that is not set or is empty, with which the files are on
                another machine.

        Raises:
            ConfigError: names the field.
        """
        # Each by itself: put together, the name of a variable would run on into the vocabulary.
        if may_be_elsewhere and any(map(missing_variables, (self.directory, self.vocabulary))):
            return
        root = Path(self.expanded_directory())
        if self.source == "microworld":
            if self.directory and _answer(root.exists) and not _answer(root.is_dir):
                self.refuse("directory", "a folder to generate the microworld in, not a file")
        # TensorFlow Datasets downloads what is missing.
        elif self.source != "tfds" and not _answer(root.is_dir):
            self.refuse("directory", f"the folder of the data; there is none at {root}")
        for task in self.own_tasks:
            for field in (field for field, path in task.paths.items() if path):
                file = task.path_of(field, root)
                if not _answer(file.is_file):
                    task.refuse(field, f"a file, absolute or below DataConfig.directory; there is none at {file}")
        if self.vocabulary in ("train", "checkpoint"):
            return
        path = self.vocabulary_path()
        # A path below the microworld's folder is looked at when that is generated.
        known = self.source != "microworld" or Path(self.expanded_vocabulary()).is_absolute()
        if known and not _answer(lambda: path.is_dir() or existing_file(path) is not None):
            self.refuse("vocabulary", f"{_VOCABULARIES}; there is no {path}")

    def vocabulary_path(self) -> Path:
        """Path of the vocabulary that is not trained: a file, or the folder of a tokenizer.

        Raises:
            ConfigError: an environment variable in it is not set, or the checkpoint's folder is missing.
        """
        if self.vocabulary == "checkpoint":
            # Filled in by `benchmark.export.start`, which refuses a run without checkpoint.
            assert self.checkpoint is not None
            return self.checkpoint.path().absolute()
        return Path(self.expanded_directory()) / self.expanded_vocabulary()

    def request(self) -> MaterializeRequest:
        """Makes the request of the data stage; raises as `expanded_directory` and `vocabulary_path` do."""
        from tasks.materialize.request import MaterializeRequest

        # The data stage needs neither the checkpoint nor to know what is measured on its rows.
        left_out = ("checkpoint", "pseudo_perplexity_rows")
        values = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name not in left_out
        }
        values["directory"] = self.expanded_directory()
        values["vocabulary"] = self.expanded_vocabulary()
        if self.vocabulary == "checkpoint":
            values["vocabulary"] = str(self.vocabulary_path())
        values["train_files"] = dict(self.train_files)
        root = Path(values["directory"])
        values["own_tasks"] = tuple(task.request(root) for task in self.own_tasks)
        return MaterializeRequest(**values)
