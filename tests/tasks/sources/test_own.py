"""Own tasks: labels, splits, numbers and answers of files with columns of any name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.catalogue import own_task_info
from tasks.sources import own
from tasks.system.errors import DataError, InputError
from tests.helpers.own_tasks import own_task, read, write_stars

SPAN = {"text": ["film"], "answer_start": [7]}


@given(count=st.integers(2, 400), fraction=st.floats(0.001, 0.9), seed=st.integers(0, 2**31 - 1))
def test_a_split_by_seed_is_exact_and_stable(count: int, fraction: float, seed: int) -> None:
    held = own.held_out(count, fraction, seed)
    assert held <= set(range(count))
    assert len(held) == max(1, round(fraction * count))
    assert held == own.held_out(count, fraction, seed)
    # Another way to the same rows: no row that stays has a smaller digest than one that is held out.
    digests = {n: hashlib.sha256(b"%d %d" % (seed, n)).hexdigest() for n in range(count)}
    rest = [digests[n] for n in range(count) if n not in held]
    assert not rest or max(digests[n] for n in held) < min(rest)


def test_splits_of_a_published_seed_never_change() -> None:
    # for n in $(seq 0 19); do echo "$(printf '0 %s' $n | sha256sum) $n"; done | sort | head -5
    assert sorted(own.held_out(20, 0.25, 0)) == [4, 6, 10, 14, 17]
    assert own.held_out(20, 0.25, 1) != own.held_out(20, 0.25, 0)


def test_held_out_rows_and_the_rest_are_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    lines = [f"text {n}\t{n % 5}" for n in range(50)]
    path.write_text("\n".join(["text\tlabel", *lines]) + "\n")
    info = own.resolve(own_task(path, validation_fraction=0.3, split_seed=4))
    train, validation = read(info, "train"), read(info, "validation")
    assert (len(train), len(validation)) == (35, 15)
    assert [row["idx"] for row in validation] == list(range(15))
    assert sorted(f"{row['sentence']}\t{row['label']}" for row in train + validation) == sorted(lines)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["10", "9", "1"], ("1", "9", "10")),
        (["b", "a", "10", "9"], ("10", "9", "a", "b")),
        ([str(n) for n in range(150)], tuple(str(n) for n in range(150))),
    ],
)
def test_labels_are_those_of_the_training_file(tmp_path: Path, labels: list[str], names: tuple[str, ...]) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f"x,{label}\n" for label in labels))
    info = own.resolve(own_task(path))
    assert info.label_names == names
    assert info.num_labels == len(names)
    assert [row["label"] for row in read(info, "train")] == [
        names.index(labels[n]) for n in range(len(labels)) if n not in own.held_out(len(labels), 0.1, 0)
    ]


def test_given_labels_decide_the_ids_and_a_pair_has_two_fields(tmp_path: Path) -> None:
    train, validation = tmp_path / "t.jsonl", tmp_path / "v.csv"
    train.write_text('{"idx": "one", "label": "two", "y": true}\n{"idx": "1", "label": "2", "y": false}\n')
    validation.write_text("y,label,idx\nfalse,2,1\n")
    columns: dict[str, Any] = {"text_columns": ("idx", "label"), "label_column": "y", "label_names": ("true", "false")}
    info = own.resolve(own_task(train, validation="v.csv", **columns))
    assert read(info, "train") == [
        {"idx": 0, "sentence1": "one", "sentence2": "two", "label": 0},
        {"idx": 1, "sentence1": "1", "sentence2": "2", "label": 1},
    ]
    assert read(info, "validation") == [{"idx": 0, "sentence1": "1", "sentence2": "2", "label": 1}]


def test_every_format_gives_the_same_examples(tmp_path: Path) -> None:
    table = [{"text": f"text {n}", "stars": n % 3} for n in range(12)]
    (tmp_path / "t.tsv").write_text("text\tstars\n" + "".join(f"{r['text']}\t{r['stars']}\n" for r in table))
    (tmp_path / "t.csv").write_text("stars,text\n" + "".join(f'{r["stars"]},"{r["text"]}"\n' for r in table))
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "t.parquet")
    infos = [
        own.resolve(own_task(tmp_path / f"t.{end}", label_column="stars")) for end in ("tsv", "csv", "jsonl", "parquet")
    ]
    for split in ("train", "validation"):
        first, *others = [read(info, split) for info in infos]
        assert others == [first] * 3


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ("a\tgood\n", {"label_names": ("good", "bad")}, None),
        (
            "a\tgod\n",
            {"label_names": ("good", "bad")},
            "line 2: label is 'god'; expected one of good, bad; did you mean 'good'?",
        ),
        ("a\t3.5x\n", {"kind": "regression"}, "line 2: label is '3.5x'; a number is expected"),
        ("a\tnan\n", {"kind": "regression"}, "a number is expected"),
        (
            "a\t7\n",
            {"kind": "regression", "label_range": (0, 5)},
            "line 2: label is '7'; a number from 0 to 5 is expected",
        ),
    ],
)
def test_bad_labels_name_file_line_column_and_value(
    tmp_path: Path, rows: str, changes: dict[str, Any], message: str | None
) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("text\tlabel\n" + rows)
    write_stars(tmp_path / "v.tsv")
    info = own.resolve(own_task(path, validation="v.tsv", **changes))
    if message is None:
        assert len(read(info, "train")) == 1
        return
    with pytest.raises(DataError) as refused:
        read(info, "train")
    assert str(refused.value).startswith(f"{path}: ") and message in str(refused.value)


def test_bad_rows_are_skipped_and_counted_in_their_split(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("text\tlabel\n" + "".join(f"x\t{'' if n == 3 else n % 2}\n" for n in range(40)))
    info = own.resolve(own_task(path, validation_fraction=0.5))
    with pytest.raises(DataError, match="t.tsv: line 5: label is ''; a label on one line"):
        read(info, "train") + read(info, "validation")
    found = {split: own.report(info, split, "skip") for split in ("train", "validation")}
    assert {split: r.examples + r.skipped for split, r in found.items()} == {"train": 20, "validation": 20}
    assert sum(r.skipped for r in found.values()) == 1
    assert len(read(info, "train", "skip")) == found["train"].examples
    path.write_text("text\tlabel\nx\t0\tmore\n" * 3)
    with pytest.raises(
        DataError, match=r"no examples for the train split of mine_v1; 3 bad rows were skipped, the first"
    ):
        read(info, "train", "skip")


@pytest.mark.parametrize(
    ("labels", "changes", "message"),
    [
        (["1"] * 3, {}, "one label, '1', in 'label'; at least two are expected"),
        ([""] * 3, {}, "no label in 'label'"),
        (["1", "2", "3"], {"metrics": ("f1",)}, "3 labels in 'label'; TaskConfig.metrics: 'macro_f1' in place of 'f1'"),
        ([str(n) for n in range(10_001)], {}, "more than 10,000 labels in 'label'; accepted: kind = 'regression'"),
    ],
)
def test_labels_that_make_no_task(tmp_path: Path, labels: list[str], changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("text\tlabel\n" + "".join(f"x\t{label}\n" for label in labels))
    with pytest.raises(DataError) as refused:
        own.resolve(own_task(path, **changes))
    assert message in str(refused.value)


@pytest.mark.parametrize(("form", "separator"), [("tsv", "\t"), ("csv", ",")])
def test_white_space_around_labels_is_no_part_of_them(tmp_path: Path, form: str, separator: str) -> None:
    """It is invisible, so that nobody means two labels by it; inside a label it counts."""
    labels = ["good", "good ", " bad", "bad\u00a0", "not  good", "not good"]
    path = tmp_path / f"t.{form}"
    path.write_text(f"text{separator}label\n" + "".join(f"x{separator}{label}\n" for label in labels))
    names = ("bad", "good", "not  good", "not good")
    info = own.resolve(own_task(path))
    assert info.label_names == names
    both = read(info, "train") + read(info, "validation")
    assert sorted(row["label"] for row in both) == [0, 0, 1, 1, 2, 3]
    given = own.resolve(own_task(path, label_names=names[::-1]))
    assert sorted(row["label"] for row in read(given, "train") + read(given, "validation")) == [0, 1, 2, 2, 3, 3]
    with pytest.raises(InputError, match=r"TaskConfig.label_names.*without white space around them"):
        own_task(path, label_names=("good", "bad "))


def test_white_space_around_numbers_is_no_part_of_them(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,label\nx, 2.5\ny,3 \n")
    info = own.resolve(own_task(path, kind="regression"))
    assert sorted(row["label"] for row in read(info, "train") + read(info, "validation")) == [2.5, 3.0]


def test_a_label_of_white_space_alone_is_none(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("text\tlabel\nx\ta\ny\tb\nz\t \n")
    with pytest.raises(DataError, match=r"line 4: label is ' '; a label on one line"):
        info = own.resolve(own_task(path))
        read(info, "train") + read(info, "validation")


@pytest.mark.parametrize("value", [1.5, None, ["a"], {"a": 1}])
def test_labels_of_other_types_are_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"text": "x", "label": value}) + '\n{"text": "y", "label": 1}\n')
    info = own_task_info(dataclasses.replace(own_task(path), label_names=("1", "2"), validation_fraction=0.001))
    with pytest.raises(DataError, match="line 1: label is .*; a label on one line or a whole number is expected"):
        read(info, "train") + read(info, "validation")


@pytest.mark.parametrize(("value", "number"), [("-3.5e1", -35.0), (".5", 0.5), (4, 4.0), (0.1, 0.1)])
def test_numbers_of_a_regression(tmp_path: Path, value: object, number: float) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text((json.dumps({"text": "x", "label": value}) + "\n") * 2)
    assert read(own.resolve(own_task(path, kind="regression")), "train")[0]["label"] == number


def span_info(tmp_path: Path, answers: object, form: str, **changes: Any) -> Any:
    row = {"q": "what ?", "passage": "a good film", "answers": answers}
    path = tmp_path / f"t.{form}"
    if form == "csv":
        cells = [row["q"], row["passage"], json.dumps(answers).replace('"', '""')]
        path.write_text("q,passage,answers\n" + ",".join(f'"{cell}"' for cell in cells) + "\n")
    else:
        path.write_text(json.dumps(row) + "\n")
    (tmp_path / "v.jsonl").write_text(json.dumps(row) + "\n")
    columns = {"kind": "span", "text_columns": ("q", "passage"), "validation": "v.jsonl"}
    return own.resolve(own_task(path, **columns, **changes))


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("answers", [SPAN, [{"text": "film", "answer_start": 7}]])
def test_answers_of_a_table(tmp_path: Path, form: str, answers: object) -> None:
    assert read(span_info(tmp_path, answers, form), "train") == [
        {
            "idx": 0,
            "id": "0",
            "title": "",
            "question": "what ?",
            "context": "a good film",
            "answers": [{"text": "film", "answer_start": 7}],
            "is_impossible": False,
        }
    ]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"text": ["film"], "answer_start": [2]}, "line 1: answer_start 2 points at 'good', not at the answer 'film'"),
        ({"text": ["film"], "answer_start": []}, "lists of equal length, is expected"),
        ("film", "lists of equal length, is expected"),
        (
            {"text": [], "answer_start": []},
            "answers has no answer; at least one is expected, as TaskConfig.unanswerable",
        ),
    ],
)
def test_bad_answers(tmp_path: Path, answers: object, message: str) -> None:
    with pytest.raises(DataError) as refused:
        read(span_info(tmp_path, answers, "jsonl"), "train")
    assert message in str(refused.value)


def test_questions_without_answer_where_the_task_has_them(tmp_path: Path) -> None:
    info = span_info(tmp_path, {"text": [], "answer_start": []}, "jsonl", unanswerable=True)
    (row,) = read(info, "train")
    assert row["answers"] == [] and row["is_impossible"]


def test_the_nested_form_of_squad(tmp_path: Path) -> None:
    questions = [
        {"id": "a", "question": "what ?", "answers": [{"text": "film", "answer_start": 7}]},
        {"id": "b", "question": "who ?", "answers": [], "is_impossible": True},
    ]
    content = {"data": [{"title": "T", "paragraphs": [{"context": "a good film", "qas": questions}]}]}
    for name in ("t.json", "v.json"):
        (tmp_path / name).write_text(json.dumps(content))
    strict, lenient = (
        own.resolve(own_task(tmp_path / "t.json", kind="span", validation="v.json", unanswerable=free))
        for free in (False, True)
    )
    assert [row["id"] for row in read(lenient, "validation")] == ["a", "b"]
    assert [row["id"] for row in read(strict, "train", "skip")] == ["a"]
    with pytest.raises(DataError, match="id b: no answer; at least one is expected"):
        read(strict, "train")


def test_an_id_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    row = {"id": 7, "question": "what ?", "context": "a good film", "answers": SPAN}
    path.write_text((json.dumps(row) + "\n") * 2)
    with pytest.raises(DataError, match="line 2: the id '7' is another question's"):
        info = own.resolve(own_task(path, kind="span"))
        read(info, "train") + read(info, "validation")


def test_parquet_lacks_a_column_or_is_none(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": ["a"], "lable": ["1"]}), path)
    with pytest.raises(
        DataError, match=r"t\.parquet: no column 'label'; the columns are text, lable; did you mean 'lable'"
    ):
        own.resolve(own_task(path))
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"t\.parquet: damaged, or no parquet file"):
        own.resolve(own_task(path))


def test_edited_files_and_copies_are_noticed(tmp_path: Path) -> None:
    task = own_task(write_stars(tmp_path / "t.tsv"), validation="v.tsv", label_column="stars")
    write_stars(tmp_path / "v.tsv", seed=1)
    known = {
        f"mine_v1/{split}/{name}": {"sha256": hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}
        for split, name in (("train", "t.tsv"), ("validation", "v.tsv"))
    }
    assert own.changed([task], known) == []
    own.refuse_equal_files([task], known)
    write_stars(tmp_path / "v.tsv", seed=2)
    assert own.changed([task], known) == ["mine_v1/validation/v.tsv"]
    # A host that has the arrays needs no files.
    (tmp_path / "v.tsv").unlink()
    assert own.changed([task], known) == []
    with pytest.raises(
        DataError, match=r"v\.tsv: the validation file of mine_v1 has the content of .*t\.tsv, its train"
    ):
        own.refuse_equal_files([task], dict.fromkeys(known, {"sha256": "0"}))


def test_a_file_without_usable_labels_names_its_first_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "x", "label": 1.5}\n{"text": "y", "label": 2.5}\n')
    task = own_task(path)
    with pytest.raises(DataError, match=r"no label in 'label'.*the first bad row: line 1: label is 1\.5"):
        own.resolve(task)
