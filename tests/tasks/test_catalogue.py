"""The catalogue and the command line over it."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.__main__ import main
from tasks.catalogue import METRICS, TASKS, TaskInfo, get_task, text_field_names
from tasks.files.known_files import KNOWN_FILES
from tasks.pretraining import PRETRAINING_TASKS
from tasks.scoring.averages import AVERAGES
from tasks.sources.conventions import hub_task
from tasks.system.errors import DataError
from tasks.system.repository import REPOSITORY

DEFINITIONS = REPOSITORY / "tests" / "data" / "task_definitions.json"


def test_names_are_versioned_and_keys_are_names():
    for name, info in TASKS.items():
        assert name == info.name
        assert name.rsplit("_v", 1)[1].isdigit()


def test_all_of_glue_and_squad_are_there():
    titles = {info.title for info in TASKS.values()}
    assert titles >= {"CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI-m", "MNLI-mm", "QNLI", "RTE", "WNLI"}
    assert titles >= {"SQuAD v1.1", "SQuAD v2.0", "AX"}


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


def test_a_task_is_in_no_average_and_on_no_hub_unless_it_says_so():
    fields = {field.name: field.default for field in dataclasses.fields(TaskInfo)}
    assert (fields["in_averages"], fields["hub"]) == ((), None)
    with pytest.raises(DataError, match="glue_rte_v1 can be read from official files only; known here: glue_cola_v1"):
        hub_task(dataclasses.replace(get_task("glue_rte_v1"), hub=None))


@pytest.mark.parametrize(("directory", "hint"), [("gleu/RTE", "did you mean glue?"), ("x", "known names: glue, squad")])
def test_an_unknown_group_folder_is_one_line(directory, hint):
    with pytest.raises(DataError) as caught:
        dataclasses.replace(get_task("glue_rte_v1"), directory=directory)
    group = directory.partition("/")[0]
    assert str(caught.value) == (
        f"task glue_rte_v1: directory '{directory}': the group folder '{group}' is not in GROUP_FOLDERS; {hint}"
    )


def test_field_names():
    assert text_field_names(get_task("glue_mrpc_v1")) == ("sentence1", "sentence2")
    assert text_field_names(get_task("glue_qnli_v1")) == ("question", "sentence")
    assert text_field_names(get_task("glue_cola_v1")) == ("sentence",)


def test_light_modules_import_no_tensorflow():
    modules = (
        "catalogue scoring.averages arrays.token_arrays scoring.metrics encoding.spans files.readers sources.corpora"
        " encoding.vocabulary encoding.preprocessors materialize.request materialize.steps materialize.child"
        " materialize.start_child describe.task files.verify files.source_notes"
    )
    code = (
        f"import sys, importlib\nfor name in '{modules}'.split(): importlib.import_module('tasks.' + name)\n"
        "heavy = {'tensorflow', 'seqio', 'jax', 'torch', 'benchmark', 'transformers'} & set(sys.modules)\n"
        "print(*sorted(heavy))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.split() == []


def test_list_names_every_task(capsys):
    assert main(["list"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["name", "title"]
    assert [line.split()[0] for line in lines] == [*TASKS, *PRETRAINING_TASKS]


def test_a_wrong_name_is_one_line_and_code_2(capsys):
    assert main(["describe", "glue_sst_v1"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "glue_sst2_v1" in captured.err


def test_published_definitions_stay_as_they_are():
    published = json.loads(DEFINITIONS.read_text(encoding="utf-8"))
    for name, digest in published.items():
        assert name in TASKS, f"{name} is published: restore it, records name it"
        assert TASKS[name].definition_hash() == digest, (
            f"the definition of {name} changed, but scores of it are published: restore it and add"
            f" {name.rsplit('_v', 1)[0]}_v{int(name.rsplit('_v', 1)[1]) + 1} beside it"
        )
    new = {name: info.definition_hash() for name, info in TASKS.items() if name not in published}
    assert not new, f"add to {DEFINITIONS.name}: {json.dumps(new)}"


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_length", 64), ("label_names", ("1", "0")), ("metrics", ("accuracy",)), ("split_sizes", {"train": 1})],
)
def test_every_change_of_a_definition_is_noticed(field, value):
    info = get_task("glue_mrpc_v1")
    assert dataclasses.replace(info, **{field: value}).definition_hash() != info.definition_hash()


def test_where_a_task_is_found_is_no_part_of_its_definition():
    info = get_task("glue_mrpc_v1")
    moved = dataclasses.replace(
        info,
        download="elsewhere",
        other_files={"train": ("MRPC/t.tsv",)},
        in_averages=(),
        hub=None,
        made_up_file="sentence\n",
    )
    assert moved.definition_hash() == info.definition_hash()


def test_tasks_without_training_data_fit_the_model_that_predicts_them():
    borrowed = {name: info for name, info in TASKS.items() if info.trained_on}
    assert set(borrowed) == {"glue_mnli_mismatched_v1", "glue_ax_v1"}
    for info in TASKS.values():
        assert ("train" in info.split_sizes) != bool(info.trained_on)
    for info in borrowed.values():
        model = get_task(info.trained_on)
        assert (info.kind, info.label_names, info.max_length) == (model.kind, model.label_names, model.max_length)
        assert len(info.text_columns) == len(model.text_columns)
    assert borrowed["glue_ax_v1"].in_averages == ()


def test_known_files_are_files_of_tasks():
    names = {info.official_file(split) for info in TASKS.values() for split in info.split_stems}
    names |= {f"{info.directory}/{part}" for info in TASKS.values() for parts in info.parts.values() for part in parts}
    for digest, known in KNOWN_FILES.items():
        assert digest == known.sha256
        assert known.name in names or known.name.startswith("vocab/")
        assert len(bytes.fromhex(digest)) == 32


def test_official_digests_are_those_of_tensorflow_datasets():
    """Its package carries the digest of everything that it downloads; every single-file download of ours is there."""
    package = importlib.util.find_spec("tensorflow_datasets")
    if package is None or package.origin is None:
        pytest.skip("tensorflow_datasets is not installed")
    folder = Path(package.origin).parent
    lines = (folder / "url_checksums" / "glue.txt").read_text().splitlines()
    lines += (folder / "datasets" / "squad" / "checksums.tsv").read_text().splitlines()
    published = {line.split("\t")[2]: int(line.split("\t")[1]) for line in lines}
    official = [f for f in KNOWN_FILES.values() if f.origin == "official" and not f.name.startswith("vocab/")]
    assert len(official) == 8
    for file in official:
        assert published[file.sha256] == file.bytes
