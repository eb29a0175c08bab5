"""Settings of the data stage."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.config.checks import Checked, setting

if TYPE_CHECKING:
    from tasks.materialize.request import MaterializeRequest


@dataclass(frozen=True, kw_only=True)
class DataConfig(Checked):
    """Where text comes from and what token arrays are made of it.

    `directory` holds the files of the source (docs/data.md) and `pretrain/`, `vocab/`; environment variables in it are
    expanded when the run starts, so that the same settings have the same fingerprint on every machine. An entry of
    `pretrain_corpora` is a path below it, `hf:DIR` or `tfds:NAME`. `on_bad_row` says what happens to rows of task files
    that cannot be used: `error` stops, `skip` leaves them out, counts them and names the first few in the records.
    """

    source: str = setting("microworld", choices=("microworld", "files", "tfds", "hf"))
    directory: str = setting("")
    microworld_seed: int = setting(0, at_least=0)
    microworld_scale: float = setting(1.0, at_least=0.001, at_most=1.0)
    vocabulary: str = setting("train")
    vocabulary_size: int = setting(1024, at_least=64)
    pretrain_corpora: tuple[str, ...] = setting(("pretrain/microworld/corpus.wikiextractor.txt",))
    pretrain_rates: tuple[float, ...] = setting((1.0,), at_least=0.0)
    pretrain_validation: str = setting("pretrain/microworld/validation.wikiextractor.txt")
    pretrain_length: int = setting(64, at_least=8)
    pretrain_max_rows: int = setting(0, at_least=0)
    sentence_pairs: bool = setting(False)
    pretrain_seed: int = setting(0, at_least=0)
    validation_rows: int = setting(512, at_least=1)
    tasks: tuple[str, ...] = setting(("glue_sst2_v1",))
    task_length: int = setting(48, at_least=8)
    span_length: int = setting(96, at_least=16)
    span_stride: int = setting(32, at_least=1)
    max_query_length: int = setting(24, at_least=4)
    on_bad_row: str = setting("error", choices=("error", "skip"))

    def check(self) -> None:
        """Refuses missing or unequal lists, and files without a folder."""
        if len(self.pretrain_rates) != len(self.pretrain_corpora):
            self.refuse("pretrain_rates", f"one rate for each of the {len(self.pretrain_corpora)} pretrain_corpora")
        if self.source != "microworld" and not self.directory:
            self.refuse("directory", f"the folder of the data when source = '{self.source}'")
        if not self.tasks:
            self.refuse("tasks", "at least one task name")

    def request(self) -> MaterializeRequest:
        """What the data stage is asked for, with environment variables in `directory` expanded.

        Raises:
            ConfigError: `directory` names an environment variable that is not set.
        """
        from tasks.materialize.request import MaterializeRequest

        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["directory"] = os.path.expandvars(self.directory)
        if "$" in values["directory"]:
            self.refuse("directory", "a folder; the environment variable in it is not set")
        return MaterializeRequest(**values)
