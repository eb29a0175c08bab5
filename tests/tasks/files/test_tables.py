"""Tables of own tasks: any text comes back, and every mistake has its place."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.catalogue import OwnFile
from tasks.files.bad_rows import BadRow
from tasks.files.tables import TableRow, table_rows
from tasks.system.errors import DataError

COLUMNS = ("text", "label")
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r"), max_size=12)


def rows(path: Path, form: Any, columns: tuple[str, ...] = COLUMNS) -> list[TableRow | BadRow]:
    return list(table_rows(OwnFile(split="train", path=str(path), format=form), columns))


def values(path: Path, form: Any) -> list[tuple[str, ...]]:
    found = rows(path, form)
    assert all(isinstance(row, TableRow) for row in found), found
    return [tuple(row.values[name] for name in COLUMNS) for row in found if isinstance(row, TableRow)]


@given(table=st.lists(st.tuples(ANY_TEXT, ANY_TEXT), min_size=1, max_size=6), ending=st.sampled_from(["\n", "\r\n"]))
@example(table=[('a "b"\n,\tc\r\n', "\x00\u2028"), ("\ufeff", "")], ending="\n")
def test_any_text_comes_back_from_csv(
    table: list[tuple[str, str]], ending: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Written by the module `csv`, with quotes, line breaks inside and either end of line."""
    text = io.StringIO()
    # The writer quotes only what its own end of line holds, and leaves a lone carriage return bare.
    writer = csv.writer(text, lineterminator=ending, quoting=csv.QUOTE_ALL if ending == "\n" else csv.QUOTE_MINIMAL)
    writer.writerows([COLUMNS, *table])
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(text.getvalue().encode())
    assert values(path, "csv") == table


@given(table=st.lists(st.tuples(ANY_TEXT, ANY_TEXT), max_size=6), ascii_only=st.booleans())
def test_any_text_comes_back_from_json_lines(
    table: list[tuple[str, str]], ascii_only: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = [json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=ascii_only) + "\n" for row in table]
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes("".join(lines).encode())
    assert values(path, "jsonl") == table


@given(table=st.lists(st.tuples(PLAIN_TEXT, PLAIN_TEXT), max_size=6))
@example(table=[('"', 'a "b'), ("\u2028", "\x0b")])
def test_tab_separated_values_are_plain(table: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.tsv"
    path.write_bytes("".join("\t".join(row) + "\n" for row in [COLUMNS, *table]).encode())
    assert values(path, "tsv") == table


@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)])
def test_archives_marks_and_empty_lines(tmp_path: Path, ending: str, pack: Any) -> None:
    path = tmp_path / f"t.tsv{ending}"
    path.write_bytes(pack(b"\xef\xbb\xbflabel\ttext\tmore\r\n\r\n1\ta\t-\r\n\n2\tb\t-"))
    assert values(path, "tsv") == [("a", "1"), ("b", "2")]
    path.write_bytes(pack(b'\xef\xbb\xbf"text",label\n\na,1\n\n'))
    assert values(path, "csv") == [("a", "1")]


@pytest.mark.parametrize(
    ("form", "content", "place", "reason"),
    [
        ("tsv", b"text\tlabel\na\t1\nb\n", "line 3", "1 columns instead of 2 (text, label)"),
        ("tsv", b"text\tlabel\na\t1\n\xff\t1\n", "line 3", "byte 0xff at position 0 is not UTF-8"),
        ("csv", b'text,label\n"two\nlines",1\nb,1,2\n', "line 4", "3 columns instead of 2"),
        ("csv", b'text,label\na,1\n"b" c,1\n', "line 3", "not CSV: "),
        ("csv", b'text,label\na,1\n"b,1\nc,1\n', "line 3", "not CSV: unexpected end of data"),
        ("csv", b"text,label\na,1\nb\xff,1\n", "line 3", "byte 0xff is not UTF-8"),
        ("jsonl", b'{"text": "a", "label": 1}\n{"text": "b"}\n', "line 2", "no member 'label'; the members are text"),
        ("jsonl", b'{"text": "a", "label": 1}\n["b", 1]\n', "line 2", "list; a JSON object is expected"),
        ("jsonl", b'{"text": "a", "label": 1}\n{"text"\n', "line 2", "not JSON"),
        ("jsonl", b'{"text": "a", "label": 1}\n\xff\n', "line 2", "byte 0xff at position 0"),
    ],
)
def test_bad_rows_have_a_place(tmp_path: Path, form: str, content: bytes, place: str, reason: str) -> None:
    path = tmp_path / "table"
    path.write_bytes(content)
    good, bad, *_ = rows(path, form)
    assert isinstance(good, TableRow) and isinstance(bad, BadRow)
    assert bad.place == place
    assert reason in bad.reason


def test_a_bad_row_does_not_cost_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('text,label\n"a" b,1\nc,2\n')
    _, good = rows(path, "csv")
    assert isinstance(good, TableRow) and good.values == {"text": "c", "label": "2"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty; a first line with the columns text, label is expected"),
        ("text\tlabels\na\t1\n", "no column 'label'; the columns are text, labels; did you mean 'labels'?"),
        ("text\tlabel\tlabel\na\t1\t1\n", "2 columns 'label'"),
    ],
)
@pytest.mark.parametrize("form", ["tsv", "csv"])
def test_unusable_tables_are_one_line(tmp_path: Path, form: str, content: str, message: str) -> None:
    path = tmp_path / "table"
    path.write_text(content if form == "tsv" else content.replace("\t", ","))
    with pytest.raises(DataError) as refused:
        rows(path, form)
    assert f"{path}: {message}" in str(refused.value)


def test_a_long_document_is_one_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than the module `csv` takes by itself; what is longer than the limit is called that."""
    limit = csv.field_size_limit()
    text = "long, " * 50_000
    assert len(text) > limit
    path = tmp_path / "t.csv"
    path.write_text(f'text,label\n"{text}",1\nb,2\n')
    assert values(path, "csv") == [(text, "1"), ("b", "2")]
    monkeypatch.setattr("tasks.files.tables.MAX_CSV_VALUE", 1000)
    bad, good = rows(path, "csv")
    assert isinstance(bad, BadRow) and bad.place == "line 2"
    assert bad.reason == "a value of more than 1,000 characters; is a quote before it not closed?"
    assert isinstance(good, TableRow) and good.values == {"text": "b", "label": "2"}
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl"])
@pytest.mark.parametrize("end", ["", "\r", "\n", "\r\n"])
def test_lines_that_end_with_a_carriage_return_alone_are_named(tmp_path: Path, form: str, end: str) -> None:
    lines = {
        "tsv": ["text\tlabel", "a\t1", "b\t2"],
        "csv": ["text,label", "a,1", "b,2"],
        "jsonl": ['{"text": "a", "label": "1"}', '{"text": "b", "label": "2"}'],
    }[form]
    path = tmp_path / "table"
    path.write_bytes(("\r".join(lines) + end).encode())
    with pytest.raises(DataError) as refused:
        rows(path, form)
    assert str(refused.value) == f"{path}: its lines end with a carriage return alone; line feeds (\\n) are expected"
    for ending in ("\n", "\r\n"):
        path.write_bytes(ending.join(lines).encode())
        assert values(path, form) == [("a", "1"), ("b", "2")]


def test_a_carriage_return_inside_a_text_is_a_character(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(b"text\tlabel\na\rb\t1\n")
    assert values(path, "tsv") == [("a\rb", "1")]


def test_a_missing_table_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.tsv is missing: it should hold rows with the columns text, label"):
        rows(tmp_path / "none.tsv", "tsv")
