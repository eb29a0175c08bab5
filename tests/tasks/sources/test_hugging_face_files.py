"""Hugging Face folders give the examples that the official files give."""

import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import sources
from tasks.catalogue import get_task
from tasks.sources import conventions, hugging_face, shards
from tasks.system.errors import DataError
from tests.tasks.sources.written import NAMES, official, schema_of, splits, squad_table, sst2, write_hub, write_saved


@pytest.mark.parametrize("layout", ["hub_root", "saved_root"])
@pytest.mark.parametrize("name", NAMES)
def test_hugging_face_gives_the_official_examples(name, layout, world, request):
    root = request.getfixturevalue(layout)
    for split in splits(name, world):
        assert list(sources.read_examples("hf", get_task(name), root, split)) == official(name, world, split)


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r"), max_size=12)


@settings(max_examples=25)
@given(
    rows=st.lists(st.tuples(words, words, st.integers(0, 2)), min_size=1, max_size=12),
    order=st.permutations([0, 1, 2]),
    seed=st.integers(0, 9),
    saved=st.booleans(),
)
def test_any_text_any_order_of_rows_and_of_label_names(tmp_path_factory, rows, order, seed, saved):
    """Rows were shuffled, their numbers have gaps, and the ids of the labels are not ours: names and `idx` decide."""
    root = tmp_path_factory.mktemp("any")
    classes = ["entailment", "neutral", "contradiction"]
    shuffled = random.Random(seed).sample(list(enumerate(rows)), len(rows))
    table = pa.table(
        {
            "premise": [row[0] for _, row in shuffled],
            "hypothesis": [row[1] for _, row in shuffled],
            "label": [order.index(row[2]) for _, row in shuffled],
            "idx": [3 * number for number, _ in shuffled],
        }
    ).replace_schema_metadata(
        schema_of({"label": {"names": [classes[n] for n in order], "_type": "ClassLabel"}}, {}).metadata
    )
    (write_saved if saved else write_hub)(root / "glue" / "mnli", "train", table, parts=1)
    assert list(hugging_face.read_examples(get_task("glue_mnli_matched_v1"), root, "train")) == [
        {"idx": n, "sentence1": a, "sentence2": b, "label": label} for n, (a, b, label) in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (sst2(label=[1, 2]), r"glue/sst2: train: row 1: label is 2; expected one of 0 \(negative\), 1 \(positive\)"),
        (sst2(label=[1, -1]), "row 1: label is -1"),
        (sst2(label=None), "row 0: label is None"),
        (sst2(sentence=["good", None]), "row 1: sentence is None; text is expected"),
        (sst2(sentence=None, text=["a", "b"]), r"parquet: no column 'sentence'; the columns are label, idx, text"),
        (
            sst2().replace_schema_metadata(schema_of({"label": {"names": ["no", "yes"]}}, {}).metadata),
            "the labels are named no, yes; expected negative, positive",
        ),
        (sst2().replace_schema_metadata({"huggingface": "no JSON"}), "the note 'huggingface' of the file"),
    ],
)
def test_bad_hugging_face_values(tmp_path, table, message):
    write_hub(tmp_path / "glue" / "sst2", "train", table, parts=1)
    with pytest.raises(DataError, match=message):
        list(hugging_face.read_examples(get_task("glue_sst2_v1"), tmp_path, "train"))


def test_bad_answers(tmp_path):
    example = {"id": "7", "title": "T", "context": "a good film", "question": "what", "answers": []}
    for answers, message in (
        ([{"text": "film", "answer_start": 2}], r"row 0 \(id 7\): answer_start 2 points at 'good', not at .* 'film'"),
        ([{"text": "film", "answer_start": -4}], "answer_start -4 points at ''"),
        ([], r"row 0 \(id 7\): no answer; SQuAD v1.1 has at least one for every question"),
    ):
        _, table = squad_table([{**example, "answers": answers}], False)
        write_hub(tmp_path / "squad", "train", table, parts=1)
        with pytest.raises(DataError, match=message):
            list(hugging_face.read_examples(get_task("squad_v1_1_v1"), tmp_path, "train"))
    with pytest.raises(DataError, match="expected lists 'text' and 'answer_start' of equal length"):
        list(conventions.examples(get_task("squad_v1_1_v1"), "train", [{**example, "answers": [3]}], None, "here"))


def test_damaged_and_incomplete_hugging_face_folders(tmp_path):
    info, folder = get_task("glue_sst2_v1"), tmp_path / "glue" / "sst2"
    with pytest.raises(DataError, match=r"glue/sst2/train-00000-of-\*\.parquet .* is missing: .* train split of SST-2"):
        next(hugging_face.read_examples(info, tmp_path, "train"))
    write_hub(folder, "train", sst2(), parts=2)
    whole = (folder / "train-00001-of-00002.parquet").read_bytes()
    (folder / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match="part 00001 of 00002 is missing"):
        next(hugging_face.read_examples(info, tmp_path, "train"))
    (folder / "train-00001-of-00002.parquet").write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"train-00001-of-00002\.parquet: damaged, or no parquet file"):
        list(hugging_face.read_examples(info, tmp_path, "train"))
    write_saved(folder, "validation", sst2(), parts=2)
    arrow = folder / "validation" / "data-00001-of-00002.arrow"
    arrow.write_bytes(arrow.read_bytes()[:-90])
    with pytest.raises(DataError, match=r"data-00001-of-00002\.arrow: damaged, or no arrow file"):
        list(hugging_face.read_examples(info, tmp_path, "validation"))
    arrow.unlink()
    with pytest.raises(DataError, match=r"data-00001-of-00002\.arrow is missing, though .*state\.json names it"):
        list(hugging_face.read_examples(info, tmp_path, "validation"))
    (folder / "validation" / "state.json").write_text('{"_data_files": [], "_indices_data_files": [{}]}')
    with pytest.raises(DataError, match=r"state\.json: saved with a selection of rows; call flatten_indices"):
        list(hugging_face.read_examples(info, tmp_path, "validation"))
    (folder / "validation" / "state.json").write_text("{}")
    with pytest.raises(DataError, match=r"state\.json: not the state of a saved data set"):
        list(hugging_face.read_examples(info, tmp_path, "validation"))


def test_parts_of_two_copies_are_refused(tmp_path):
    paths = [tmp_path / f"train-0000{part}-of-0000{total}.parquet" for part, total in ((0, 1), (0, 2), (1, 2))]
    with pytest.raises(DataError, match="parts of two copies are mixed"):
        shards.complete(paths)
    assert shards.complete(paths[2:0:-1]) == tuple(paths[1:])
