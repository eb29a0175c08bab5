"""Training files in place of the official ones: where they are read, and which are refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli.gin_loader import load_run_config
from benchmark.config import ConfigError, DataConfig, fingerprint
from benchmark.pipeline.data_files import list_data_files
from tasks.catalogue import find_tasks, get_task
from tasks.contamination.overlap import Evaluated
from tasks.files import layouts
from tasks.files.readers import read_examples
from tasks.system.errors import DataError
from tests.helpers.mnli_run import TINY

QQP, PART = "glue_qqp_v1", "train.sample-9999.tsv.gz"
FILES: dict[str, Any] = {"source": "files", "directory": "/data", "pretrain_validation": "", "tasks": (QQP,)}
GIN = ["DataConfig.source = 'files'", "DataConfig.directory = '/data'"]


@pytest.mark.parametrize(
    ("task", "file", "message"),
    [
        (QQP, "train.tsv", "no name of an official file, which is read without an entry"),
        (QQP, "train.tsv.xz", "no name of an official file"),
        (QQP, "dev.tsv.gz", "no name of an official file"),
        ("glue_mnli_matched_v1", "dev_mismatched.tsv", "no name of an official file"),
        (QQP, "train.part.json", "a name that ends in .tsv (or, compressed, in .gz, .xz, .bz2)"),
        (QQP, ".tsv", "a name that ends in .tsv"),
        ("squad_v1_1_v1", "train.part.tsv", "a name that ends in .json"),
        ("glue_ax_v1", "part.tsv", "no file for AX, which the model of glue_mnli_matched_v1 predicts"),
    ],
)
def test_names_that_a_task_cannot_have(task: str, file: str, message: str) -> None:
    place = f"DataConfig.train_files['{task}'] = '{file}'"
    with pytest.raises(DataError, match=re.escape(place) + ".*" + re.escape(message)):
        find_tasks([task], train_files={task: file})
    # The line of a gin file says the same before anything starts.
    tasks = f"DataConfig.tasks = ('{task}', 'glue_mnli_matched_v1')" if task == "glue_ax_v1" else ""
    bindings = [*GIN, tasks or f"DataConfig.tasks = ('{task}',)", f"DataConfig.train_files = {{'{task}': '{file}'}}"]
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load_run_config([str(TINY)], bindings)
    assert f"DataConfig.train_files['{task}'] = '{file}'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["", "..", "a/b.tsv", "/tmp/b.tsv", "..\\b.tsv", "a\nb.tsv"])
def test_only_names_in_the_folder_of_the_task(file: str) -> None:
    with pytest.raises(ConfigError, match="the name of a file in the folder of the task, without a folder"):
        DataConfig(**FILES, train_files={QQP: file})


def test_only_official_tasks_of_the_run_from_files() -> None:
    with pytest.raises(ConfigError, match="names of DataConfig.tasks that are in the catalogue: glue_qqp_v1"):
        DataConfig(**FILES, train_files={"glue_rte_v1": "part.tsv"})
    with pytest.raises(ConfigError, match="source = 'microworld': other files need source = 'files'"):
        DataConfig(tasks=(QQP,), train_files={QQP: PART})
    with pytest.raises(ConfigError, match=r"DataConfig.train_files\['glue_qqp_v1'\] = 3: expected a str"):
        DataConfig(**FILES | {"train_files": {QQP: 3}})


def test_a_gin_file_names_it_and_the_fingerprint_has_it() -> None:
    bindings = [*GIN, f"DataConfig.tasks = ('{QQP}',)"]
    whole = load_run_config([str(TINY)], bindings).data
    part = load_run_config([str(TINY)], [*bindings, f"DataConfig.train_files = {{'{QQP}': '{PART}'}}"]).data
    assert dict(part.train_files) == {QQP: PART} and dict(whole.train_files) == {}
    assert fingerprint(part) != fingerprint(whole)
    assert part.request().train_files == {QQP: PART}


def test_the_file_replaces_the_training_file_alone(tmp_path: Path) -> None:
    folder = tmp_path / "glue" / "QQP"
    folder.mkdir(parents=True)
    head = "question1\tquestion2\tis_duplicate\n"
    for name, rows in {"train": 3, "train.part": 2, "dev": 1}.items():
        (folder / f"{name}.tsv").write_text(head + f"{name}\tb\t1\n" * rows)
    (info,) = find_tasks([QQP], train_files={QQP: "train.part.tsv.gz"}).values()
    assert [row["question1"] for row in read_examples(info, tmp_path, "train")] == ["train.part"] * 2
    assert [row["question1"] for row in read_examples(info, tmp_path, "validation")] == ["dev"]
    # What is official stays so, and the entry of the catalogue is another.
    assert info.split_sizes == get_task(QQP).split_sizes
    assert get_task(QQP).official_file("train") == "glue/QQP/train.tsv"
    config = DataConfig(**{**FILES, "directory": str(tmp_path)}, train_files={QQP: "missing.tsv"})
    lines = [files.line for files in list_data_files(config)]
    assert any(line.startswith(f"{QQP} train: MISSING: ") and "QQP/missing.tsv" in line for line in lines)


def test_parts_of_real_files_are_read_and_hold_no_evaluated_pair(data_root: Path) -> None:
    found = 0
    for task in (QQP, "glue_mnli_matched_v1", "glue_qnli_v1"):
        (info,) = find_tasks([task], train_files={task: PART}).values()
        if layouts.find(info, data_root, "train") is None or layouts.find(info, data_root, "validation") is None:
            continue
        found += 1
        fields = list(get_task(task).text_columns)
        texts = {
            split: [tuple(row[field] for field in fields) for row in read_examples(info, data_root, split)]
            for split in ("train", "validation")
        }
        assert len(texts["train"]) == 9_999
        counted = Evaluated(texts["validation"])
        counted.compare_training(texts["train"])
        # The two other tasks have no near-duplicates either.
        assert counted.overlap(None).same_example == (7 if task == QQP else 0)
    if not found:
        pytest.skip(f"AUTODISTILL_DATA has no {PART}")
