"""The catalogue and the command line over it."""

import dataclasses
import subprocess
import sys

import pytest

from tasks.__main__ import main
from tasks.averages import AVERAGES
from tasks.catalogue import METRICS, TASKS, get_task, text_field_names
from tasks.errors import DataError


def test_names_are_versioned_and_keys_are_names():
    for name, info in TASKS.items():
        assert name == info.name
        assert name.rsplit("_v", 1)[1].isdigit()


def test_all_of_glue_and_squad_are_there():
    titles = {info.title for info in TASKS.values()}
    assert titles >= {"CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI-m", "MNLI-mm", "QNLI", "RTE", "WNLI"}
    assert titles >= {"SQuAD v1.1", "SQuAD v2.0"}


def test_catalogue_cannot_be_changed():
    with pytest.raises(TypeError):
        TASKS["x"] = None
    with pytest.raises(TypeError):
        TASKS["glue_rte_v1"].split_sizes["train"] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        TASKS["glue_rte_v1"].name = "x"


def test_wrong_name_gets_the_nearest():
    with pytest.raises(DataError, match="did you mean glue_sst2_v1"):
        get_task("glue_sst_v1")
    with pytest.raises(DataError, match="known names"):
        get_task("zzz")


@pytest.mark.parametrize("info", TASKS.values(), ids=lambda info: info.name)
def test_entries_are_consistent(info):
    assert set(info.split_stems) == set(info.split_sizes)
    assert set(info.metrics) <= set(METRICS)
    assert (info.kind == "classification") == (len(info.label_names) > 1)
    assert (info.kind == "regression") == (info.label_range is not None)
    assert len(text_field_names(info)) == len(info.text_columns)
    assert info.num_labels == {"classification": len(info.label_names), "regression": 1, "span": 2}[info.kind]


def test_averages_and_tasks_name_each_other():
    for name, info in TASKS.items():
        using = {
            key for key, entry in AVERAGES.items() if any(name == task for group in entry.groups for task, _ in group)
        }
        assert using == set(info.in_averages)
    for entry in AVERAGES.values():
        for task, metric in (pair for group in entry.groups for pair in group):
            assert metric in get_task(task).metrics


def test_field_names():
    assert text_field_names(get_task("glue_mrpc_v1")) == ("sentence1", "sentence2")
    assert text_field_names(get_task("glue_qnli_v1")) == ("question", "sentence")
    assert text_field_names(get_task("glue_cola_v1")) == ("sentence",)


def test_light_modules_import_no_tensorflow():
    modules = (
        "catalogue averages arrays metrics spans readers corpora vocabulary preprocessors request materialize child"
    )
    code = (
        f"import sys, importlib\nfor name in '{modules}'.split(): importlib.import_module('tasks.' + name)\n"
        "heavy = {'tensorflow', 'seqio', 'jax', 'torch', 'benchmark', 'transformers'} & set(sys.modules)\n"
        "print(*sorted(heavy))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.split() == []


def test_list_and_describe(capsys):
    assert main(["list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(TASKS)
    assert main(["describe", "glue_stsb_v1"]) == 0
    described = capsys.readouterr().out
    assert "0 to 5" in described
    assert "train 5,749" in described


def test_bad_input_is_one_line_and_code_2(capsys, tmp_path):
    assert main(["describe", "glue_sst_v1"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "glue_sst2_v1" in captured.err
    assert main(["verify-data", str(tmp_path / "none")]) == 2


def test_verify_data_finds_a_wrong_count(capsys, tmp_path):
    folder = tmp_path / "glue" / "WNLI"
    folder.mkdir(parents=True)
    rows = "".join(f"{index}\ta\tb\t1\n" for index in range(71))
    (folder / "dev.tsv").write_text("index\tsentence1\tsentence2\tlabel\n" + rows)
    assert main(["verify-data", str(tmp_path)]) == 0
    (folder / "dev.tsv").write_text("index\tsentence1\tsentence2\tlabel\n" + rows[:-9])
    assert main(["verify-data", str(tmp_path)]) == 1
    assert "70 examples, 71 are official" in capsys.readouterr().out
