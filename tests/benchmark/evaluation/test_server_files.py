"""The files of the servers: names, headers, rows, bytes, and labels, whose order is the same all along."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from benchmark.evaluation.server_files import (
    GLUE_FILES,
    SQUAD_FOLDERS,
    glue_table,
    glue_zip,
    missing_glue,
    squad_files,
)
from tasks import microworld
from tasks.catalogue import TASKS, get_task
from tasks.files import layouts
from tasks.files.readers import read_examples
from tasks.files.text_files import read_lines
from tasks.sources.conventions import hub_task
from tasks.system.errors import DataError

# The server's words in the order of the numbers that a model predicts, written down here once more. TFDS and the hub
# number MNLI's labels in this order, BERT's scripts begin with `contradiction`
# (huawei-noah/Pretrained-Language-Model #229).
LABELS = {
    "glue_cola_v1": ("0", "1"),
    "glue_sst2_v1": ("0", "1"),
    "glue_mrpc_v1": ("0", "1"),
    "glue_qqp_v1": ("0", "1"),
    "glue_wnli_v1": ("0", "1"),
    "glue_mnli_matched_v1": ("entailment", "neutral", "contradiction"),
    "glue_mnli_mismatched_v1": ("entailment", "neutral", "contradiction"),
    "glue_ax_v1": ("entailment", "neutral", "contradiction"),
    "glue_qnli_v1": ("entailment", "not_entailment"),
    "glue_rte_v1": ("entailment", "not_entailment"),
}
SIZES = {
    "CoLA.tsv": 1_063,
    "SST-2.tsv": 1_821,
    "MRPC.tsv": 1_725,
    "STS-B.tsv": 1_379,
    "QQP.tsv": 390_965,
    "MNLI-m.tsv": 9_796,
    "MNLI-mm.tsv": 9_847,
    "QNLI.tsv": 5_463,
    "RTE.tsv": 3_000,
    "WNLI.tsv": 146,
    "AX.tsv": 1_104,
}
STSB = get_task("glue_stsb_v1")


def labels_of(task: str) -> list[int]:
    """One prediction for each row of the official test set, all labels in turn."""
    info = get_task(task)
    return [number % info.num_labels for number in range(info.split_sizes["test"])]


def table_of(task: str) -> str:
    info = get_task(task)
    return glue_table(info, labels_of(task) if info.label_names else [2.5] * info.split_sizes["test"])


def test_every_file_has_the_official_number_of_rows_and_the_words_of_the_server() -> None:
    assert {*GLUE_FILES} == {*LABELS, "glue_stsb_v1"} == {name for name in TASKS if name.startswith("glue_")}
    for task, file in GLUE_FILES.items():
        head, *rows = table_of(task).splitlines()
        assert head == "index\tprediction"
        assert len(rows) == SIZES[file]
        for index, row in enumerate(rows):
            number, word = row.split("\t")
            assert number == str(index)
            assert word == ("2.500" if task == "glue_stsb_v1" else LABELS[task][index % len(LABELS[task])])


@pytest.mark.parametrize("task", LABELS)
def test_the_order_of_labels_is_the_same_from_the_file_to_the_server(task: str, tmp_path: Path) -> None:
    """A word in a file becomes a number of the arrays, a number of a prediction, and that word again."""
    info = get_task(task)
    assert info.label_names == LABELS[task]
    split = "train" if "train" in info.split_stems else "validation"
    path = tmp_path / info.official_file(split)
    path.parent.mkdir(parents=True)
    renamed = info.renamed_columns.get(split, {})
    columns = info.headerless_columns.get(split) or tuple(
        renamed.get(column, column) for column in (*info.text_columns, info.label_column)
    )
    label = columns.index(renamed.get(info.label_column, info.label_column))
    rows = [[word if place == label else "text" for place in range(len(columns))] for word in LABELS[task]]
    head = [] if split in info.headerless_columns else [list(columns)]
    path.write_text("".join("\t".join(row) + "\n" for row in [*head, *rows]), encoding="utf-8")
    numbers = [row["label"] for row in read_examples(info, tmp_path, split)]
    assert numbers == list(range(len(LABELS[task])))
    official = SIZES[GLUE_FILES[task]]
    table = glue_table(info, (numbers * official)[:official])
    words = [row.split("\t")[1] for row in table.splitlines()[1:]]
    assert words[: len(numbers)] == list(LABELS[task])


@pytest.mark.parametrize("task", LABELS)
def test_the_hubs_number_labels_in_the_same_order(task: str) -> None:
    """Their label names in the order of their ids (tensorflow_datasets 4.9.10, nyu-mll/glue)."""
    words = {"0": "not", "1": ""}
    for ours, theirs in zip(LABELS[task], hub_task(get_task(task)).classes, strict=True):
        if ours in words:
            # Of two numbers, 0 stands for the name with a negation: `not_equivalent`, `unacceptable`, `negative`.
            assert theirs.startswith(("not_", "un", "neg")) == (ours == "0")
        else:
            assert theirs == ours


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("microworld") / "data"
    microworld.generate(root, scale=0.1)
    return root


@pytest.mark.parametrize("split", ["validation", "test"])
def test_rows_of_each_mnli_set_come_from_its_own_file(embedded: Path, split: str) -> None:
    """huawei-noah/Pretrained-Language-Model #115: MNLI-mm was evaluated on the rows of MNLI-m."""
    read = {}
    for task, file in (("glue_mnli_matched_v1", "matched"), ("glue_mnli_mismatched_v1", "mismatched")):
        stem = {"validation": "dev", "test": "test"}[split]
        lines = [line.split("\t") for line in read_lines(embedded / f"glue/MNLI/{stem}_{file}.tsv")]
        places = [lines[0].index(name) for name in ("sentence1", "sentence2")]
        read[task] = [(row["sentence1"], row["sentence2"]) for row in read_examples(get_task(task), embedded, split)]
        assert read[task] == [tuple(line[place] for place in places) for line in lines[1:]]
    assert not {*read["glue_mnli_matched_v1"]} & {*read["glue_mnli_mismatched_v1"]}


def test_indices_of_the_official_files_count_from_0(data_root: Path) -> None:
    seen = 0
    for task in GLUE_FILES:
        files = layouts.find(get_task(task), data_root, "test")
        if files is None:
            continue
        head, *rows = [line.split("\t") for line in read_lines(files.table)]
        if "index" in head:
            seen += 1
            assert [row[head.index("index")] for row in rows] == [str(number) for number in range(len(rows))], task
            assert len(rows) == SIZES[GLUE_FILES[task]]
    if not seen:
        pytest.skip("AUTODISTILL_DATA has no official test file")


@pytest.mark.parametrize(
    ("task", "predictions", "message"),
    [
        ("glue_wnli_v1", [0] * 145, r"WNLI.tsv: 145 predictions on the test split of glue_wnli_v1; .* has 146 rows"),
        ("glue_mnli_mismatched_v1", [0] * 9_796, r"MNLI-mm.tsv: 9,796 predictions .* has 9,847 rows"),
        ("glue_wnli_v1", [0] * 145 + [2], r"WNLI.tsv: index 145: 2; expected the number of one of 0, 1"),
        ("glue_wnli_v1", [True] * 146, r"index 0: True; expected"),
        ("glue_stsb_v1", [5.1] * 1_379, r"STS-B.tsv: index 0: 5.1; expected a number from 0 to 5"),
        ("glue_stsb_v1", [float("nan")] * 1_379, r"index 0: nan; expected"),
    ],
)
def test_what_does_not_fit_the_official_file_is_one_line(task: str, predictions: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        glue_table(get_task(task), predictions)
    assert "\n" not in str(caught.value)


def test_scores_have_three_decimals() -> None:
    table = glue_table(STSB, [0, 5.0, 2.34567] + [4.99999] * (1_379 - 3)).splitlines()
    assert table[1:5] == ["0\t0.000", "1\t5.000", "2\t2.346", "3\t5.000"]


def test_equal_tables_give_equal_bytes() -> None:
    tables = {task: table_of(task) for task in ("glue_ax_v1", "glue_wnli_v1", "glue_rte_v1")}
    content = glue_zip(tables)
    assert content == glue_zip(dict(reversed(tables.items())))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["RTE.tsv", "WNLI.tsv", "AX.tsv"]
        assert all(entry.date_time == (1980, 1, 1, 0, 0, 0) for entry in archive.infolist())
        assert archive.read("WNLI.tsv").decode() == tables["glue_wnli_v1"]
    assert len(missing_glue(tables)) == 8
    assert "glue_qqp_v1 (QQP.tsv, 390,965 rows)" in missing_glue(tables)


def test_squad_has_an_answer_for_each_question_and_v2_its_probability_of_none() -> None:
    assert SQUAD_FOLDERS == {"squad_v1_1_v1": "squad-v1.1", "squad_v2_0_v1": "squad-v2.0"}
    ids = [f"q{number}" for number in range(11_873)]
    odds: dict[str, float | None] = {**dict.fromkeys(ids, -2.0), "q0": None, "q1": 0.0, "q2": 800.0, "q3": -800.0}
    result = {"predictions": dict.fromkeys(ids, "an answer") | {"q0": ""}, "null_odds": odds}
    files = {name: json.loads(text) for name, text in squad_files(get_task("squad_v2_0_v1"), result).items()}
    assert files["predictions.json"] == result["predictions"]
    assert [files["na_prob.json"][f"q{number}"] for number in range(5)] == [1.0, 0.5, 1.0, 0.0, 0.119203]
    with pytest.raises(DataError, match="older version, which kept no null_odds"):
        squad_files(get_task("squad_v2_0_v1"), {"predictions": result["predictions"]})
    with pytest.raises(DataError, match="squad_v1_1_v1: 11,873 predicted questions; .* has 10,570"):
        squad_files(get_task("squad_v1_1_v1"), result)
    answers = dict.fromkeys(ids[:10_570], "an answer")
    assert set(squad_files(get_task("squad_v1_1_v1"), {"predictions": answers})) == {"predictions.json"}
