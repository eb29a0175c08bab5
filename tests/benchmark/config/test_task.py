"""Settings of own tasks: limits, paths, and the names that a run accepts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli.gin_loader import load, load_run_config
from benchmark.config import ConfigError, DataConfig, TaskConfig, fingerprint
from benchmark.config import task as settings
from tasks.catalogue import METRICS, OwnTask, own_task_info
from tasks.materialize.request import MaterializeRequest
from tasks.system.repository import REPOSITORY
from tests.helpers.own_tasks import write_stars

TINY = str(REPOSITORY / "tests" / "e2e" / "tiny.gin")


def task(**changes: Any) -> TaskConfig:
    return TaskConfig(**{"name": "mine_v1", "train": "t.tsv"} | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "mine"}, "name = 'mine': expected str matching"),
        ({"train": ""}, "train = '': expected the path of the training file"),
        ({"train": "t.txt"}, "train = 't.txt': expected a file that ends in .tsv, .csv, .jsonl"),
        ({"train": "t.tsv.zip"}, "train = 't.tsv.zip': expected a file that ends in"),
        ({"train": "t.json"}, "the nested JSON of SQuAD is for kind = 'span'"),
        ({"train": "t.parquet.gz"}, "an uncompressed .parquet file"),
        ({"validation": "t.tsv"}, "train = 't.tsv': expected another file for each split"),
        ({"kind": "ranking"}, "kind = 'ranking': expected str in {classification, regression, span}"),
        ({"text_columns": ("a", "b", "c")}, "text_columns"),
        ({"text_columns": ("a", "a")}, "none of them twice"),
        ({"text_columns": ("label",)}, "the label_column 'label'"),
        ({"kind": "span", "text_columns": ("a",)}, "two columns, question and context"),
        ({"label_names": ("a",)}, "at least two"),
        ({"label_names": ("a", "a")}, "no label twice"),
        ({"label_names": (1, 2)}, "expected a sequence of str values"),
        ({"kind": "regression", "label_names": ("a", "b")}, "label_names"),
        ({"label_range": (0.0, 1.0)}, "(lowest, highest) where kind = 'regression'"),
        ({"kind": "regression", "label_range": (1.0, 0.0)}, "label_range"),
        ({"unanswerable": True}, "unanswerable = True: expected False where kind = 'classification'"),
        ({"metrics": ("recall",)}, "metrics = ('recall',)"),
        ({"metrics": ("pearson",)}, "those of kind = 'classification', each once: accuracy, macro_f1, f1, matthews"),
        (
            {"metrics": ("f1",), "label_names": ("a", "b", "c")},
            "'macro_f1' in place of 'f1', which needs two labels, not 3",
        ),
        ({"validation_fraction": 1.0}, "validation_fraction = 1.0: expected float >= 0.001 <= 0.9"),
        ({"split_seed": -1}, "split_seed"),
    ],
)
def test_limits(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        task(**changes)


def test_metrics_are_those_of_the_tasks_and_every_kind_has_a_default() -> None:
    assert {metric for metrics in settings.METRICS.values() for metric in metrics} == set(METRICS)
    for kind in settings.METRICS:
        info = own_task_info(task(kind=kind).request(None))
        assert info.metrics and set(info.metrics) <= set(settings.METRICS[kind])
        assert info.text_columns == (("question", "context") if kind == "span" else ("text",))


def test_files_are_below_the_folder_of_the_data_or_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = task(train="a/t.csv", validation="$MINE/v.tsv.bz2", test=str(tmp_path / "x.jsonl"))
    data = DataConfig(own_tasks=(mine,), tasks=("mine_v1",))
    with pytest.raises(ConfigError, match=r"TaskConfig\.validation = '\$MINE/v\.tsv\.bz2'.*not set"):
        data.request()
    monkeypatch.setenv("MINE", "b")
    (own,) = data.request().own_tasks
    paths = {file.split: (file.path, file.format) for file in own.files}
    assert paths == {
        "train": ("a/t.csv", "csv"),
        "validation": ("b/v.tsv.bz2", "tsv"),
        "test": (str(tmp_path / "x.jsonl"), "jsonl"),
    }
    below = DataConfig(own_tasks=(mine,), tasks=("mine_v1",), directory="/data").request().own_tasks[0]
    assert [file.path for file in below.files] == ["/data/a/t.csv", "/data/b/v.tsv.bz2", str(tmp_path / "x.jsonl")]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"TaskConfig\.train = 'a/t\.csv': expected a file, .* none at a/t\.csv"):
        data.check_files()
    for name in ("a/t.csv", "b/v.tsv.bz2", "x.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    data.check_files()


def test_a_request_survives_the_way_to_the_child() -> None:
    import dataclasses
    import json

    data = DataConfig(own_tasks=(task(label_names=("a", "b")),), tasks=("mine_v1",))
    request = data.request()
    assert MaterializeRequest.from_dict(json.loads(json.dumps(dataclasses.asdict(request)))) == request
    assert isinstance(request.own_tasks[0], OwnTask)


def test_names_of_own_tasks() -> None:
    with pytest.raises(ConfigError, match="tasks = .*: expected 'mine_v1' too, which DataConfig.own_tasks defines"):
        DataConfig(own_tasks=(task(),))
    with pytest.raises(ConfigError, match="another name for each own task"):
        DataConfig(own_tasks=(task(), task(train="u.tsv")), tasks=("mine_v1",))


def test_the_fingerprint_has_the_definition() -> None:
    one, two = (DataConfig(own_tasks=(task(split_seed=seed),), tasks=("mine_v1",)) for seed in (0, 1))
    assert fingerprint(one) != fingerprint(two)


def bindings(path: Path, name: str = "mine_v1") -> list[str]:
    return [
        f"DataConfig.tasks = ('glue_sst2_v1', '{name}')",
        "DataConfig.own_tasks = (@TaskConfig(),)",
        f"TaskConfig.name = '{name}'",
        f"TaskConfig.train = '{path}'",
        "TaskConfig.label_column = 'stars'",
    ]


def test_a_gin_file_names_an_own_task_beside_the_catalogue(tmp_path: Path) -> None:
    loaded = load([TINY], bindings(write_stars(tmp_path / "t.tsv")))
    (mine,) = loaded.config.data.own_tasks
    assert (mine.name, mine.columns) == ("mine_v1", ("text", "stars"))
    (tmp_path / "again.gin").write_text(loaded.text)
    assert load_run_config([str(tmp_path / "again.gin")]) == loaded.config


@pytest.mark.parametrize(
    ("name", "tasks", "message"),
    [
        ("glue_rte_v1", "('glue_rte_v1',)", "another TaskConfig.name than 'glue_rte_v1', which the catalogue has"),
        ("pretrain_mlm_v1", "('pretrain_mlm_v1',)", "which the catalogue has"),
        (
            "mine_v1",
            "('mine_v1', 'mime_v1')",
            "names of the task catalogue; 'mime_v1' is not there, did you mean mine_v1",
        ),
    ],
)
def test_names_that_a_run_does_not_know(tmp_path: Path, name: str, tasks: str, message: str) -> None:
    changes = [*bindings(tmp_path / "t.tsv", name), f"DataConfig.tasks = {tasks}"]
    with pytest.raises(ValueError, match=re.escape(message)):
        load_run_config([TINY], changes[1:])
