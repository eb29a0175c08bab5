"""Where the files of a task are looked for."""

import bz2
import gzip
import shutil

import pytest

from tasks.catalogue import TASKS, get_task
from tasks.files import layouts
from tasks.files.readers import read_examples
from tasks.system.errors import DataError

SST2 = "sentence\tlabel\nfine\t1\n"
MSR_HEADER = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
MSR = MSR_HEADER + "1\t10\t11\ta\tb\n0\t20\t21\tc\td\n1\t30\t31\te\tf\n"


def write(root, relative, text):
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(text.encode()))
    return path


def read(name, root, split):
    return list(read_examples(get_task(name), root, split))


@pytest.mark.parametrize("folder", ["glue/", "glue_data/", "GLUE/", ""])
@pytest.mark.parametrize("ending", ["", ".gz", ".bz2"])
def test_folders_of_glue(tmp_path, folder, ending):
    write(tmp_path, f"{folder}SST-2/train.tsv{ending}", SST2)
    assert [example["label"] for example in read("glue_sst2_v1", tmp_path, "train")] == [1]


@pytest.mark.parametrize("folder", ["squad/", "SQuAD/", ""])
def test_folders_of_squad(tmp_path, folder):
    path = write(tmp_path, f"{folder}train-v1.1.json", "{}")
    assert layouts.require(get_task("squad_v1_1_v1"), tmp_path, "train").paths == (path,)


def test_the_official_layout_comes_first(tmp_path):
    for relative in ("SST-2/train.tsv", "glue_data/SST-2/train.tsv", "glue/SST-2/train.tsv.gz"):
        write(tmp_path, relative, SST2)
    found = layouts.find_all(get_task("glue_sst2_v1"), tmp_path, "train")
    assert [str(files.table.relative_to(tmp_path)) for files in found] == [
        "glue/SST-2/train.tsv.gz",
        "glue_data/SST-2/train.tsv",
        "SST-2/train.tsv",
    ]


def test_one_file_under_two_names_counts_once(tmp_path):
    write(tmp_path, "glue/SST-2/train.tsv", SST2)
    (tmp_path / "GLUE").symlink_to(tmp_path / "glue")
    assert len(layouts.find_all(get_task("glue_sst2_v1"), tmp_path, "train")) == 1


@pytest.mark.parametrize(
    "name", ["AX/diagnostic.tsv", "AX/AX.tsv", "AX/test.tsv", "diagnostic/diagnostic.tsv", "MNLI/diagnostic.tsv"]
)
def test_names_of_the_diagnostic_set_without_labels(tmp_path, name):
    write(tmp_path, f"glue_data/{name}", "index\tsentence1\tsentence2\n0\tA cat sat.\tIt sat.\n")
    expected = [{"idx": 0, "sentence1": "A cat sat.", "sentence2": "It sat.", "label": -1}]
    assert read("glue_ax_v1", tmp_path, "test") == expected
    assert layouts.find(get_task("glue_ax_v1"), tmp_path, "validation") is None


def test_diagnostic_set_with_labels(tmp_path):
    header = "Lexical Semantics\tPredicate-Argument Structure\tLogic\tKnowledge\tDomain\tPremise\tHypothesis\tLabel\n"
    row = "\t\tNegation\t\tArtificial\tA cat sat.\tNo cat sat.\tcontradiction\n"
    write(tmp_path, "glue_data/diagnostic/diagnostic-full.tsv", header + row)
    expected = [{"idx": 0, "sentence1": "A cat sat.", "sentence2": "No cat sat.", "label": 2}]
    assert read("glue_ax_v1", tmp_path, "validation") == expected


def test_mrpc_is_put_together_from_its_parts(tmp_path):
    write(tmp_path, "MRPC/msr_paraphrase_train.txt.gz", MSR)
    write(tmp_path, "MRPC/dev_ids.tsv", "20\t21\n")
    write(tmp_path, "MRPC/msr_paraphrase_test.txt", MSR)
    assert [row["sentence1"] for row in read("glue_mrpc_v1", tmp_path, "train")] == ["a", "e"]
    (row,) = read("glue_mrpc_v1", tmp_path, "validation")
    assert row == {"idx": 0, "sentence1": "c", "sentence2": "d", "label": 0}
    # The published test file has labels; GLUE's has none, and no test split may.
    assert [row["label"] for row in read("glue_mrpc_v1", tmp_path, "test")] == [-1, -1, -1]
    (files,) = layouts.find_all(get_task("glue_mrpc_v1"), tmp_path, "train")
    assert [path.name for path in files.paths] == ["msr_paraphrase_train.txt.gz", "dev_ids.tsv"]
    assert files.official_names == ("glue/MRPC/msr_paraphrase_train.txt", "glue/MRPC/dev_ids.tsv")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("20\t21\n7\t8\n", r"dev_ids.tsv: line 2: the pair 7 and 8 is not in .*msr_paraphrase_train.txt"),
        ("20\n", r"dev_ids.tsv: line 1: 1 columns instead of 2"),
    ],
)
def test_wrong_ids_of_mrpc(tmp_path, ids, message):
    write(tmp_path, "MRPC/msr_paraphrase_train.txt", MSR)
    write(tmp_path, "MRPC/dev_ids.tsv", ids)
    with pytest.raises(DataError, match=message):
        read("glue_mrpc_v1", tmp_path, "train")


def test_half_of_the_parts_is_a_missing_file(tmp_path):
    write(tmp_path, "MRPC/msr_paraphrase_train.txt", MSR)
    with pytest.raises(DataError, match=r"MRPC/msr_paraphrase_train.txt with .*MRPC/dev_ids.tsv"):
        read("glue_mrpc_v1", tmp_path, "train")


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_missing_file_is_described(tmp_path, name):
    info = TASKS[name]
    for split, size in info.split_sizes.items():
        with pytest.raises(DataError) as caught:
            layouts.require(info, tmp_path, split)
        message = str(caught.value)
        assert message.startswith(str(tmp_path / info.official_file(split)))
        for part in (f"{size:,} examples", "also looked at", info.download, info.title):
            assert part in message


def test_a_split_that_a_task_does_not_have(tmp_path):
    with pytest.raises(DataError, match="no split 'train'.*predicted with the model of glue_mnli_matched_v1"):
        layouts.require(get_task("glue_ax_v1"), tmp_path, "train")
    with pytest.raises(DataError, match="no split 'test'; it has train, validation"):
        layouts.require(get_task("squad_v1_1_v1"), tmp_path, "test")


@pytest.mark.real_data
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_real_parts_of_mrpc_give_the_files_of_glue(data_root, tmp_path, split):
    folder = data_root / "glue" / "MRPC"
    (tmp_path / "MRPC").mkdir()
    for path in [*folder.glob("msr_paraphrase_*"), *folder.glob("dev_ids*")]:
        shutil.copy(path, tmp_path / "MRPC")
    assert read("glue_mrpc_v1", tmp_path, split) == read("glue_mrpc_v1", data_root, split)
