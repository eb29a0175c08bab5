"""What a record says of the data of a task: another training file, contamination, and averages without parts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchmark.config import DataConfig
from benchmark.pipeline import record_scores
from tasks.catalogue import find_tasks

QQP, MNLI, MISMATCHED = "glue_qqp_v1", "glue_mnli_matched_v1", "glue_mnli_mismatched_v1"
PART = {"files": {"glue/MNLI/train.part.tsv": "a" * 64}, "examples": 9_999, "skipped": 0, "reasons": []}


def context(sources: dict[str, Any], train_files: dict[str, str], **data: Any) -> Any:
    """A run as far as these functions look at it."""
    names = (QQP, MNLI, MISMATCHED)
    config = DataConfig(source="files", directory="/data", tasks=names, train_files=train_files)
    return SimpleNamespace(
        config=SimpleNamespace(data=config),
        data={"task_sources": sources, **data},
        tasks=find_tasks(names, train_files=train_files),
    )


@pytest.mark.parametrize("task", [MNLI, MISMATCHED])
def test_a_task_has_the_training_file_of_the_model_that_predicts_it(task: str) -> None:
    run = context({MNLI: {"train": PART}}, {MNLI: "train.part.tsv.gz"})
    file = record_scores.training_file(run, run.tasks[task])
    assert file is not None
    assert file.words == "train.part.tsv (9,999 of 392,702 examples)"
    assert (file.name, file.sha256) == ("glue/MNLI/train.part.tsv", "a" * 64)
    assert record_scores.training_file(run, run.tasks[QQP]) is None


@pytest.mark.parametrize(("examples", "named"), [(363_849, False), (363_846, False), (363_845, True), (9_999, True)])
def test_a_file_of_the_official_name_is_named_where_rows_are_missing(examples: int, named: bool) -> None:
    note = {"files": {"glue/QQP/train.tsv": "b" * 64}, "examples": examples, "skipped": 0, "reasons": []}
    run = context({QQP: {"train": note}}, {})
    assert (record_scores.training_file(run, run.tasks[QQP]) is not None) == named


def test_contamination_is_that_of_the_data_stage_and_of_the_text_of_the_run() -> None:
    counts = {
        "method": "equal_text_v1",
        "examples": 9,
        "same_example": 1,
        "any_text": 2,
        "long_sentence": 8,
        "in_pretraining": 3,
    }
    run = context({}, {}, contamination={QQP: {**counts, "file": "contamination-0.json"}})
    ours = record_scores.contamination(run, QQP, trained_here=True)
    assert ours is not None and ours.model_dump() == counts
    # Nobody knows here what a published checkpoint has read.
    published = record_scores.contamination(run, QQP, trained_here=False)
    assert published is not None and published.model_dump() == counts | {"in_pretraining": None}
    assert record_scores.contamination(context({}, {}), QQP, trained_here=True) is None
