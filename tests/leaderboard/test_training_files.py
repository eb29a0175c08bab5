"""Scores after training on a part of an official file never stand in the column of the whole file."""

from __future__ import annotations

from typing import Any

from benchmark.records.record import Record
from benchmark.records.training_file import TrainingFile
from leaderboard.board import board_data
from leaderboard.estimates import TaskKey, common_tasks, estimates
from leaderboard.export import records_csv
from tests.helpers.board_records import make_record, make_task

QQP, RTE = "glue_qqp_v1", "glue_rte_v1"
WHOLE, PART = f"{QQP}.validation.accuracy", f"{QQP}.validation.accuracy.aaaaaaaaaaaa"


def part(digest: str = "a", **changes: Any) -> TrainingFile:
    values: dict[str, Any] = {
        "name": "glue/QQP/train.sample-9999.tsv",
        "sha256": digest * 64,
        "examples": 9_999,
        "official_examples": 363_849,
    }
    return TrainingFile(**values | changes)


def board(*files: TrainingFile | None) -> list[Record]:
    """Systems `a`, `b`, ... whose QQP was trained on these files, and RTE on the official one."""
    return [
        make_record("abcdef"[n], make_task(80.0 - n, QQP, training_file=file), make_task(60.0 + n, RTE))
        for n, file in enumerate(files)
    ]


def test_whole_and_part_are_two_columns() -> None:
    records = board(None, part(), part())
    data = board_data(records, "t", None)
    qualities = {quality["key"]: quality for quality in data["qualities"]}
    assert (qualities[WHOLE]["label"], qualities[PART]["label"]) == ("QQP", "QQP, train.sample-9999.tsv")
    words = "trained on train.sample-9999.tsv (9,999 of 363,849 examples)"
    assert qualities[PART]["description"] == f"{QQP}, accuracy on validation, {words}"
    scores = {row["id"]: row["scores"] for row in data["rows"]}
    assert [(WHOLE in own, PART in own) for own in scores.values()] == [(True, False), (False, True), (False, True)]
    # Ranks and fronts are those of a column, and so is what one says of another.
    assert ({*data["places"][WHOLE]}, {*data["places"][PART]}) == ({"a"}, {"b", "c"})
    assert [row["tasks"][0]["key"] for row in data["rows"]] == [WHOLE, PART, PART]


def test_the_mean_leaves_out_what_is_not_common() -> None:
    assert common_tasks(board(None, part())) == [TaskKey(RTE, "validation", "accuracy")]
    assert estimates(board(None, part()))["b"]["mean"].value == 61.0
    # Where all systems learned from one part, it has a place in the mean, under its name.
    same = board(part(), part())
    assert [key.key for key in common_tasks(same)] == [PART, f"{RTE}.validation.accuracy"]
    assert board_data(same, "t", None)["common_tasks"] == ["QQP, train.sample-9999.tsv", "RTE"]


def test_two_parts_are_told_apart_even_by_equal_names() -> None:
    labels = {quality["label"] for quality in board_data(board(part("a"), part("b")), "t", None)["qualities"]}
    assert {PART, f"{QQP}.validation.accuracy.bbbbbbbbbbbb"} < labels
    other = part("b", name="glue/QQP/train.extra.tsv")
    labels = {quality["label"] for quality in board_data(board(part("a"), other), "t", None)["qualities"]}
    assert {"QQP, train.sample-9999.tsv", "QQP, train.extra.tsv"} < labels


def test_downloads_have_both_columns() -> None:
    head, *rows = records_csv(board(None, part())).split("\r\n")
    places = [head.split(",").index(name) for name in (WHOLE, PART)]
    assert [[row.split(",")[place] for place in places] for row in rows[:2]] == [["80.0", ""], ["", "79.0"]]


def test_an_average_with_a_part_is_not_shown() -> None:
    """Its name stands for whole files (RULES.md, 6); a record of anyone may claim another."""
    records = [record.model_copy(update={"averages": {"task8_m": 70.0, "mine": 1.0}}) for record in board(None, part())]
    data = board_data(records, "t", None)
    assert [("average.task8_m" in row["scores"], "average.mine" in row["scores"]) for row in data["rows"]] == [
        (True, True),
        (False, True),
    ]
    only = board_data(records[1:], "t", None)
    assert "average.task8_m" not in {quality["key"] for quality in only["qualities"]}


def test_names_of_files_are_made_printable() -> None:
    score = make_task(70.0, QQP, training_file=part(name="glue/QQP/\u202ereversed.tsv"))
    data = board_data([make_record("a", score)], "t", None)
    assert data["rows"][0]["tasks"][0]["training_file"]["name"] == "glue/QQP/\ufffdreversed.tsv"
    assert "QQP, \ufffdreversed.tsv" in {quality["label"] for quality in data["qualities"]}
