"""Notes on the files behind token arrays, from the reader to the warnings of a run."""

import json
from pathlib import Path

import pytest

from benchmark.config import ConfigError, DataConfig
from benchmark.pipeline.record import skipped_rows
from benchmark.records.record import SkippedRows
from tasks.catalogue import get_task
from tasks.files import source_notes
from tasks.files.text_files import content_digest
from tasks.materialize.request import MaterializeRequest
from tasks.materialize.steps import materialize
from tasks.system.errors import DataError
from tests.helpers.data_requests import data_request

RTE = "index\tsentence1\tsentence2\tlabel\n"
ROWS = "".join(f"{n}\tthe cat sat here .\tthe dog ran .\tentailment\n" for n in range(6))
TEXT = "the cat sat here . the dog ran there . a good film is red and blue . " * 40


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with RTE, one row of whose training file is broken, and text to train on."""
    folder = tmp_path / "data" / "glue_data" / "RTE"
    folder.mkdir(parents=True)
    (folder / "train.tsv").write_text(RTE + ROWS + "6\tbroken\n")
    (folder / "dev.tsv").write_text(RTE + ROWS)
    (tmp_path / "data" / "text.txt").write_text(TEXT)
    return tmp_path / "data"


def request(root: Path, on_bad_row: str) -> MaterializeRequest:
    return data_request(
        source="files",
        directory=str(root),
        vocabulary_size=80,
        pretrain_corpora=("text.txt",),
        pretrain_rates=(1.0,),
        pretrain_length=16,
        validation_rows=2,
        tasks=("glue_rte_v1",),
        task_length=16,
        on_bad_row=on_bad_row,
    )


def test_note_of_one_split(root: Path, tmp_path: Path) -> None:
    source_notes.write(tmp_path, get_task("glue_rte_v1"), root, "train", "skip")
    note = json.loads((tmp_path / source_notes.NOTE_FILE).read_text())
    assert note["files"] == {"glue/RTE/train.tsv": content_digest(root / "glue_data/RTE/train.tsv")[0]}
    assert (note["examples"], note["skipped"]) == (6, 1)
    assert note["reasons"] == ["line 8: 2 columns instead of 4 (index, sentence1, sentence2, label)"]


def test_warnings_name_content_counts_and_skipped_rows() -> None:
    known = "80230dfa1347282e7b532b06a1004a76a710087541189bf874223ddf0e3819fb"
    note = {"files": {"glue/RTE/dev.tsv": known}, "examples": 277, "skipped": 0, "reasons": []}
    assert source_notes.warnings({"glue_rte_v1": {"validation": note}}) == []
    short = {**note, "examples": 276, "skipped": 1, "reasons": ["line 3: broken"]}
    count, skipped = source_notes.warnings({"glue_rte_v1": {"validation": short}})
    assert count == "glue/RTE/dev.tsv: 276 examples, 277 are official"
    assert skipped == "glue/RTE/dev.tsv: bad rows skipped: 1; the first: line 3: broken"
    for files in ({"glue/RTE/dev.tsv": "0" * 64}, {"glue/RTE/train.tsv": known}):
        (line,) = source_notes.warnings({"glue_rte_v1": {"validation": {**note, "files": files}}})
        assert "is not that of a known copy" in line


def test_skipped_rows_reach_data_json_and_record(root: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    output = tmp_path / "output"
    with pytest.raises(DataError, match="train.tsv: line 8: 2 columns instead of 4"):
        materialize(request(root, "error"), output)
    made = materialize(request(root, "skip"), output, lines.append)
    assert made["task_sources"]["glue_rte_v1"]["train"]["skipped"] == 1
    assert any("train.tsv: bad rows skipped: 1" in line for line in made["warnings"])
    assert [f"warning: {line}" for line in made["warnings"]] == [line for line in lines if line.startswith("warning")]
    again = materialize(request(root, "skip"), output)
    assert (again["task_sources"], again["warnings"]) == (made["task_sources"], made["warnings"])
    expected = SkippedRows(count=1, reasons=made["task_sources"]["glue_rte_v1"]["train"]["reasons"])
    assert skipped_rows(made["task_sources"]) == {"glue/RTE/train.tsv (train)": expected}


def test_setting_reaches_the_request() -> None:
    assert DataConfig(on_bad_row="skip").request().on_bad_row == "skip"
    assert DataConfig().request().on_bad_row == "error"
    with pytest.raises(ConfigError, match="on_bad_row = 'ignore': expected .*error, skip"):
        DataConfig(on_bad_row="ignore")
