"""Rows that cannot be used: skipped and counted on request; and readers that never do anything else with odd bytes."""

import gzip
import json
import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.catalogue import TASKS, get_task
from tasks.files import layouts, readers
from tasks.files.bad_rows import MAX_REASONS
from tasks.system.errors import DataError

PACK = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}
PAIRS = b"index\tsentence1\tsentence2\tlabel\n"


def write(root, name, content, ending="", split="train"):
    """Puts content where the reader of a task looks for it."""
    path = root / f"{get_task(name).official_file(split)}{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def read(name, root, on_bad_row="skip", split="train"):
    return list(readers.read_examples(get_task(name), root, split, on_bad_row))


def report(name, root, on_bad_row="skip", split="train"):
    info = get_task(name)
    return readers.report(info, layouts.require(info, root, split), split, on_bad_row)


def test_bad_rows_of_a_table_are_skipped_and_counted(tmp_path):
    rows = [
        b"0\ta\tb\tentailment",
        b"1\ta\tb",
        b"2\tc\td\tmaybe",
        b"3\tcaf\xe9\td\tentailment",
        b"4\te\tf\tnot_entailment",
    ]
    write(tmp_path, "glue_rte_v1", PAIRS + b"\n".join(rows) + b"\n")
    assert [(row["idx"], row["sentence1"], row["label"]) for row in read("glue_rte_v1", tmp_path)] == [
        (0, "a", 0),
        (1, "e", 1),
    ]
    found = report("glue_rte_v1", tmp_path)
    assert (found.examples, found.skipped) == (2, 3)
    assert [reason.split(":")[0] for reason in found.reasons] == ["line 3", "line 4", "line 5"]
    assert "3 columns instead of 4" in found.reasons[0]
    assert "'maybe'" in found.reasons[1]
    assert "0xe9" in found.reasons[2]
    with pytest.raises(DataError, match=r"train.tsv: line 3: 3 columns"):
        report("glue_rte_v1", tmp_path, "error")


def test_only_the_first_few_reasons_are_kept(tmp_path):
    write(tmp_path, "glue_rte_v1", PAIRS + b"0\ta\tb\tentailment\n" + b"broken\n" * 100)
    found = report("glue_rte_v1", tmp_path)
    assert (found.examples, found.skipped, len(found.reasons)) == (1, 100, MAX_REASONS)


def test_rows_that_the_official_file_has_broken_are_counted_too(tmp_path):
    header = b"id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    write(tmp_path, "glue_qqp_v1", header + b"1\t1\t2\ta\tb\t0\n2\t3\tbroken\n")
    assert report("glue_qqp_v1", tmp_path, "error").skipped == 1
    write(tmp_path, "glue_qqp_v1", header + b"1\t1\t2\ta\tb\t0\n2\t3\t4\tc\td\tyes\n")
    with pytest.raises(DataError, match="line 3: is_duplicate is 'yes'"):
        report("glue_qqp_v1", tmp_path, "error")


def test_bad_parts_of_squad_are_skipped_and_counted(tmp_path):
    def question(name, start):
        return {"id": name, "question": "Who?", "answers": [{"text": "cat", "answer_start": start}]}

    good = {"context": "The cat sat.", "qas": [question("1", 4), question("2", 5), question("1", 4)]}
    data = [
        {"paragraphs": [good, {"qas": []}]},
        "article",
        {"paragraphs": [{"context": "A cat.", "qas": [question("3", 2)]}]},
    ]
    write(tmp_path, "squad_v1_1_v1", json.dumps({"data": data}).encode())
    assert [(row["idx"], row["id"]) for row in read("squad_v1_1_v1", tmp_path)] == [(0, "1"), (1, "3")]
    found = report("squad_v1_1_v1", tmp_path)
    assert (found.examples, found.skipped) == (2, 4)
    assert found.reasons[0].startswith("data[0].paragraphs[0].qas[1].answers[0] (id 2): answer_start 5 points at")


@pytest.mark.parametrize("content", [b"", PAIRS, b"index\tsentence1\n", PAIRS + b"broken\n" * 3])
def test_files_that_cannot_be_used_are_errors_in_any_case(tmp_path, content):
    path = write(tmp_path, "glue_rte_v1", content)
    with pytest.raises(DataError, match=str(path)):
        read("glue_rte_v1", tmp_path)


def test_what_to_do_with_bad_rows_is_checked(tmp_path):
    write(tmp_path, "glue_rte_v1", PAIRS + b"0\ta\tb\tentailment\n")
    with pytest.raises(DataError, match="on_bad_row is 'ignore'; expected one of error, skip"):
        read("glue_rte_v1", tmp_path, "ignore")


cells = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\t\n\r"), max_size=20)


@given(rows=st.lists(st.tuples(cells, cells, st.sampled_from([0, 1])), min_size=1, max_size=8), mark=st.booleans())
@pytest.mark.parametrize("ending", sorted(PACK))
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_rows_come_back_as_they_were_written(tmp_path_factory, ending, newline, rows, mark):
    root = tmp_path_factory.mktemp("data")
    lines = ["index\tsentence1\tsentence2\tlabel"]
    names = get_task("glue_rte_v1").label_names
    lines += [f"{index}\t{first}\t{second}\t{names[label]}" for index, (first, second, label) in enumerate(rows)]
    text = ("\ufeff" if mark else "") + newline.join(lines) + newline
    write(root, "glue_rte_v1", PACK[ending](text.encode()), ending)
    expected = [{"idx": n, "sentence1": a, "sentence2": b, "label": label} for n, (a, b, label) in enumerate(rows)]
    assert read("glue_rte_v1", root, "error") == expected


def outcome(name, root, on_bad_row):
    """Reads; anything but examples and one-line errors fails the test."""
    info = get_task(name)
    try:
        examples = read(name, root, on_bad_row)
    except DataError as error:
        assert str(error).isprintable()
        assert str(root) in str(error)
        return None
    assert [example["idx"] for example in examples] == list(range(len(examples)))
    for example in examples:
        for value in example.values():
            if isinstance(value, str):
                value.encode()
        if info.kind == "classification":
            assert 0 <= example["label"] < len(info.label_names)
        elif info.kind == "regression":
            assert 0.0 <= example["label"] <= 5.0
        else:
            for answer in example["answers"]:
                assert example["context"][answer["answer_start"] :].startswith(answer["text"])
    return examples


def check_both_ways(name, root):
    """Checks that reading strictly either fails or gives the examples of reading tolerantly."""
    strict, tolerant = outcome(name, root, "error"), outcome(name, root, "skip")
    if strict is not None:
        assert tolerant == strict
    if tolerant is not None:
        found = report(name, root)
        assert found.examples == len(tolerant)
        assert (strict is None) == (found.skipped > 0)


NAMES = ["glue_cola_v1", "glue_stsb_v1", "squad_v2_0_v1"]


@pytest.mark.parametrize("ending", sorted(PACK))
@pytest.mark.parametrize("name", NAMES)
@given(content=st.binary(max_size=200), packed=st.booleans())
def test_any_bytes_give_examples_or_one_line(tmp_path_factory, name, ending, content, packed):
    root = tmp_path_factory.mktemp("data")
    write(root, name, PACK[ending](content) if packed else content, ending)
    check_both_ways(name, root)


VALID = {
    "glue_cola_v1": "gj04\t1\t\tIt rained.\ngj04\t0\t*\tRained \u201cit\u201d.\nx\t1\t\tcaf\u00e9\n".encode(),
    "glue_stsb_v1": b"index\tsentence1\tsentence2\tscore\n0\ta b\tc\t2.5\n1\td\te f\t5.000\n2\tg\th\t0\n",
    "squad_v2_0_v1": json.dumps(
        {
            "version": "v2.0",
            "data": [
                {
                    "title": "Caf\u00e9",
                    "paragraphs": [
                        {
                            "context": "The caf\u00e9 cat sat.",
                            "qas": [
                                {
                                    "id": "a",
                                    "question": "Who?",
                                    "answers": [{"text": "cat", "answer_start": 9}],
                                    "is_impossible": False,
                                },
                                {"id": "b", "question": "Why?", "answers": [], "is_impossible": True},
                            ],
                        }
                    ],
                }
            ],
        },
        ensure_ascii=False,
    ).encode(),
}


@st.composite
def mutations(draw, content):
    """Valid content with a few pieces cut, doubled, swapped for others' bytes."""
    data = bytearray(content)
    pieces = st.one_of(
        st.binary(max_size=4),
        st.sampled_from(
            [b"\t", b"\n", b"\r", b'"', b"nan", b"-1", b"1e999", b"null", b"[]", b"{}", b"\\ud800", b"\xff"]
        ),
    )
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 8)))
        data[start:stop] = draw(pieces)
    return bytes(data)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_damaged_files_give_examples_or_one_line(tmp_path_factory, name, data):
    root = tmp_path_factory.mktemp("data")
    write(root, name, data.draw(mutations(VALID[name])))
    check_both_ways(name, root)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
def test_any_value_at_any_place_of_squad(tmp_path_factory, data):
    """Replaces one member of a valid file by any JSON value."""
    root = tmp_path_factory.mktemp("data")
    content = json.loads(VALID["squad_v2_0_v1"])
    node, key = content, "data"
    while True:
        child = node[key]
        keys = list(child) if isinstance(child, dict) else list(range(len(child))) if isinstance(child, list) else []
        if not keys or data.draw(st.booleans()):
            break
        node, key = child, data.draw(st.sampled_from(keys))
    node[key] = data.draw(json_values)
    write(root, "squad_v2_0_v1", json.dumps(content).encode())
    check_both_ways("squad_v2_0_v1", root)


def test_the_examples_of_the_tests_above_are_valid(tmp_path):
    for name, content in VALID.items():
        write(tmp_path, name, content)
        assert len(read(name, tmp_path, "error")) >= 2
        assert name in TASKS
