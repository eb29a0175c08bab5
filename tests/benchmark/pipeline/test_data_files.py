"""Files of the data that are there or missing, known before the first stage."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmark.config import DataConfig, TaskConfig
from benchmark.pipeline.data_files import list_data_files, require_data_files
from run_benchmark import main
from tasks.system.errors import DataError
from tasks.system.repository import REPOSITORY
from tests.conftest import NUMERICS_FLAG

TABLE = "sentence\tlabel\na b\t1\nc d\t0\n"


def files_of(root: Path, **values: object) -> DataConfig:
    settings: dict[str, object] = {
        "source": "files",
        "directory": str(root),
        "tasks": ("glue_sst2_v1",),
        "pretrain_corpora": ("wiki", "more.txt"),
        "pretrain_rates": (1.0, 1.0),
        "pretrain_validation": "",
    }
    return DataConfig(**settings | values)  # type: ignore[arg-type]


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(TABLE)


def test_files_are_found_and_missed(tmp_path: Path) -> None:
    write(tmp_path, "wiki/AA/wiki_00", "wiki/AA/wiki_01", "glue/SST-2/train.tsv")
    found = {files.part: files for files in list_data_files(files_of(tmp_path))}
    assert [path.name for path in found["text wiki"].paths] == ["wiki_00", "wiki_01"]
    assert found["text wiki"].line.endswith(" and 1 more, 54 B")
    assert found["glue_sst2_v1 train"].paths == (tmp_path / "glue/SST-2/train.tsv",)
    # The test split is optional.
    assert found.keys() == {"text wiki", "text more.txt", "vocabulary", "glue_sst2_v1 train", "glue_sst2_v1 validation"}
    missing = [part for part, files in found.items() if files.refused is not None]
    assert missing == ["text more.txt", "glue_sst2_v1 validation"]
    assert f"MISSING: {tmp_path / 'more.txt'} is missing" in found["text more.txt"].line
    with pytest.raises(DataError, match=r"more\.txt is missing"):
        require_data_files(files_of(tmp_path))
    write(tmp_path, "more.txt", "glue/SST-2/dev.tsv")
    require_data_files(files_of(tmp_path))


def test_what_is_generated_or_downloaded_is_not_missing(tmp_path: Path) -> None:
    (generated, vocabulary) = list_data_files(DataConfig(source="microworld"))
    assert "generated" in generated.line and "trained" in vocabulary.line
    downloaded = list_data_files(
        files_of(tmp_path, source="tfds", pretrain_corpora=("tfds:wiki/en:1.0.0",) * 1, pretrain_rates=(1.0,))
    )
    assert all(files.refused is None for files in downloaded)
    assert sum("downloads it" in files.line for files in downloaded) == 2


def test_own_files_are_looked_for_whatever_the_source(tmp_path: Path) -> None:
    write(tmp_path, "mine.tsv")
    own = TaskConfig(name="mine_v1", train=str(tmp_path / "mine.tsv"), validation=str(tmp_path / "gone.tsv"))
    found = list_data_files(DataConfig(tasks=("mine_v1",), own_tasks=(own,)))
    assert [files.part for files in found if files.refused is not None] == ["mine_v1 validation"]


@pytest.mark.parametrize(
    ("settings", "table", "message"),
    [
        ({"label_column": "stars"}, TABLE, "column 'stars'"),
        ({}, "sentence\tlabel\na b\t1\nc d\t1\n", "one label, '1', in 'label'"),
        ({}, "sentence\tlabel\na b\t1\nc d\t0\ne f\t2\n", "3 labels in 'label'; TaskConfig.metrics"),
        ({"kind": "regression", "metrics": ("spearman",)}, "sentence\tlabel\na b\tgood\n", "label is 'good'"),
        ({"kind": "regression", "metrics": ("spearman",)}, "sentence\tlabel\n", "no examples"),
    ],
)
def test_own_files_without_the_columns_or_labels_are_refused(
    tmp_path: Path, settings: dict[str, object], table: str, message: str
) -> None:
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / name).write_text(table)
    values: dict[str, object] = {"text_columns": ("sentence",), "metrics": ("f1",), **settings}
    own = TaskConfig(name="mine_v1", train="train.tsv", validation="dev.tsv", **values)  # type: ignore[arg-type]
    config = DataConfig(directory=str(tmp_path), tasks=("mine_v1",), own_tasks=(own,))
    refused = [files for files in list_data_files(config) if files.refused is not None]
    assert refused and all("REFUSED" in files.line and message in files.line for files in refused)
    with pytest.raises(DataError, match=re.escape(message)):
        require_data_files(config)


def test_a_run_is_refused_before_its_first_stage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    given = {
        "source": "files",
        "directory": str(tmp_path / "data"),
        "pretrain_corpora": ("text.txt",),
        "pretrain_validation": "",
    }
    bindings = [f"--gin.DataConfig.{name}={value!r}" for name, value in given.items()]
    arguments = [f"--gin_file={REPOSITORY / 'tests/e2e/tiny.gin'}", "--workdir=run", *bindings, NUMERICS_FLAG]
    assert main([*arguments, "--stages=data"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{tmp_path / 'data' / 'text.txt'} is missing" in error
    assert not (tmp_path / "run").exists()
    # A dry run lists all that is missing.
    assert main([*arguments, "--stages=data", "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert out.count("MISSING") == 1 + 2 * 3 and "are missing or of no use; a run is refused" in out
    assert not (tmp_path / "run").exists()


def test_a_corrected_file_goes_on_in_the_folder_of_a_refused_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = ["a b\t1", "c d\t0"] * 6
    (tmp_path / "text.txt").write_text("a b c d . d c b a . a c . b d . " * 40)
    given = {
        "DataConfig.source": "files",
        "DataConfig.directory": str(tmp_path),
        "DataConfig.pretrain_corpora": ("text.txt",),
        "DataConfig.pretrain_validation": "",
        "DataConfig.validation_rows": 2,
        "DataConfig.vocabulary_size": 512,
        "DataConfig.tasks": ("mine_v1",),
        "TaskConfig.name": "mine_v1",
        "TaskConfig.train": "mine.tsv",
        "TaskConfig.validation_fraction": 0.5,
        "TaskConfig.text_columns": ("sentence",),
        "TaskConfig.label_names": ("0", "1"),
    }
    bindings = [f"--gin.{name}={value!r}" for name, value in given.items()]
    command = [f"--gin_file={REPOSITORY / 'tests/e2e/tiny.gin'}", "--workdir=run", "--stages=data", NUMERICS_FLAG]
    command += [*bindings, "--gin.DataConfig.own_tasks=(@TaskConfig(),)"]
    # Only who reads all rows finds the last one.
    (tmp_path / "mine.tsv").write_text("\n".join(["sentence\tlabel", *rows, "e f\t7", ""]))
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "mine.tsv: line 14: label is '7'; expected one of 0, 1" in error
    (tmp_path / "mine.tsv").write_text("\n".join(["sentence\tlabel", *rows, "e f\t1", ""]))
    assert main([*command, "--gin.DataConfig.task_length=16"]) == 0
    assert (tmp_path / "run" / "data" / "data.json").is_file()
