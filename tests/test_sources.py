"""TensorFlow Datasets and Hugging Face folders give the examples that the official files give.

The TFDS side is prepared by TFDS's own builders of GLUE and SQuAD, which get the files of the microworld in place of a
download; the Hugging Face side is written here as the library `datasets` writes it.
"""

import dataclasses
import importlib.resources.abc
import importlib.util
import json
import random
import shutil
import string
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark import gin_loader
from benchmark.config import ConfigError
from tasks import arrays, corpora, layouts, microworld, readers, sources, vocabulary
from tasks.catalogue import TASKS, get_task
from tasks.errors import DataError
from tasks.materialize import MaterializeRequest, materialize
from tasks.sources import conventions, hugging_face, shards, tfds
from tasks.sources.texts import HubCorpus, find_corpus

# AX is not among the microworld's tasks.
NAMES = [name for name in TASKS if name != "glue_ax_v1"]
GLUE = [name for name in NAMES if name.startswith("glue")]
CORPUS = "pretrain/microworld/corpus.wikiextractor.txt"

# The hub's `nyu-mll/glue`: configuration, its columns of text, the names of its labels.
HUB_GLUE = {
    "glue_cola_v1": ("cola", ["sentence"], ["unacceptable", "acceptable"]),
    "glue_sst2_v1": ("sst2", ["sentence"], ["negative", "positive"]),
    "glue_mrpc_v1": ("mrpc", ["sentence1", "sentence2"], ["not_equivalent", "equivalent"]),
    "glue_stsb_v1": ("stsb", ["sentence1", "sentence2"], None),
    "glue_qqp_v1": ("qqp", ["question1", "question2"], ["not_duplicate", "duplicate"]),
    "glue_mnli_matched_v1": ("mnli", ["premise", "hypothesis"], ["entailment", "neutral", "contradiction"]),
    "glue_mnli_mismatched_v1": ("mnli", ["premise", "hypothesis"], ["entailment", "neutral", "contradiction"]),
    "glue_qnli_v1": ("qnli", ["question", "sentence"], ["entailment", "not_entailment"]),
    "glue_rte_v1": ("rte", ["sentence1", "sentence2"], ["entailment", "not_entailment"]),
    "glue_wnli_v1": ("wnli", ["sentence1", "sentence2"], ["not_entailment", "entailment"]),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The microworld's official files, small, and WNLI, which it has not."""
    root = tmp_path_factory.mktemp("world")
    microworld.generate(root, scale=0.02)
    (root / "glue" / "WNLI").mkdir()
    for split, columns in {"train": 4, "dev": 4, "test": 3}.items():
        rows = [["index", "sentence1", "sentence2", "label"]]
        rows += [[str(n), f'It "sank", he said {n}.', f"{split} sank.", str(n // 2 % 2)] for n in range(9)]
        text = "".join("\t".join(row[:columns]) + "\n" for row in rows)
        (root / "glue" / "WNLI" / f"{split}.tsv").write_text(text, encoding="utf-8")
    return root


def official(name, root, split):
    return list(readers.read_examples(get_task(name), root, split))


def splits(name, root):
    info = get_task(name)
    return [split for split in info.split_stems if layouts.task_file(info, root, split)]


# --- Hugging Face ---


def schema_of(features, columns):
    note = json.dumps({"info": {"features": features}}).encode()
    return pa.schema(list(columns.items()), metadata={b"huggingface": note})


def glue_table(name, examples):
    """One split as `datasets` holds it: int64 class labels, 32-bit scores and numbers."""
    config, columns, names = HUB_GLUE[name]
    label = {"dtype": "float32", "_type": "Value"} if names is None else {"names": names, "_type": "ClassLabel"}
    types = dict.fromkeys(columns, pa.string())
    types |= {"label": pa.float32() if names is None else pa.int64(), "idx": pa.int32()}
    fields = [key for key in examples[0] if key not in ("idx", "label")]
    values = {column: [example[field] for example in examples] for column, field in zip(columns, fields, strict=True)}
    values |= {key: [example[key] for example in examples] for key in ("label", "idx")}
    return config, pa.table(values, schema=schema_of({"label": label}, types))


def squad_table(examples, version_2):
    answers = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])
    types = {**dict.fromkeys(("id", "title", "context", "question"), pa.string()), "answers": answers}
    rows = [
        {
            **{key: example[key] for key in ("id", "title", "context", "question")},
            "answers": {key: [answer[key] for answer in example["answers"]] for key in ("text", "answer_start")},
        }
        for example in examples
    ]
    return ("squad_v2" if version_2 else "squad"), pa.Table.from_pylist(rows, schema=schema_of({}, types))


def write_hub(folder, split, table, parts=2):
    """Writes a split as a repository of the hub holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    size = -(-table.num_rows // parts)
    for part in range(parts):
        path = folder / f"{split}-{part:05d}-of-{parts:05d}.parquet"
        pq.write_table(table.slice(part * size, size), path)


def write_saved(folder, split, table, parts=2):
    """Writes a split as `DatasetDict.save_to_disk` does."""
    place = folder / split
    place.mkdir(parents=True, exist_ok=True)
    size = -(-table.num_rows // parts)
    names = [f"data-{part:05d}-of-{parts:05d}.arrow" for part in range(parts)]
    for part, name in enumerate(names):
        with pa.OSFile(str(place / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table.slice(part * size, size), max_chunksize=7)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_split": split}
    (place / "state.json").write_text(json.dumps(state))
    (place / "dataset_info.json").write_text(json.dumps({"features": {}}))
    known = folder / "dataset_dict.json"
    listed = json.loads(known.read_text())["splits"] if known.exists() else []
    known.write_text(json.dumps({"splits": [*listed, split]}))


def write_hugging_face(world, root, saved):
    """Writes every task of the world in one of the two layouts."""
    for name in NAMES:
        for split in splits(name, world):
            examples = official(name, world, split)
            if name in GLUE:
                config, table = glue_table(name, examples)
                folder = root / "glue" / config
                split = f"{split}_{name.split('_')[2]}" if config == "mnli" and split != "train" else split
            else:
                config, table = squad_table(examples, "v2" in name)
                folder = root / config / ("" if saved else {"squad": "plain_text", "squad_v2": "squad_v2"}[config])
            (write_saved if saved else write_hub)(folder, split, table)
    return root


@pytest.fixture(scope="module")
def hub_root(world, tmp_path_factory):
    return write_hugging_face(world, tmp_path_factory.mktemp("hub"), saved=False)


@pytest.fixture(scope="module")
def saved_root(world, tmp_path_factory):
    return write_hugging_face(world, tmp_path_factory.mktemp("saved"), saved=True)


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


def sst2(**columns):
    values = {"sentence": ["good", "bad"], "label": [1, 0], "idx": [0, 1], **columns}
    return pa.table({name: value for name, value in values.items() if value is not None})


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


# --- TensorFlow Datasets ---


@pytest.fixture(scope="module")
def tfds_library():
    pytest.importorskip("tensorflow_datasets")
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("importlib_resources") is None:
            # TFDS 4.9.10 needs this backport of the standard library to prepare data; the two are interchangeable.
            patch.setitem(sys.modules, "importlib_resources", importlib.resources)
        import tensorflow_datasets

        yield tensorflow_datasets


def mrpc_sources(world, folder):
    """The two files and the list of ids from which GLUE, and so TFDS, makes the splits of MRPC."""
    rows = {}
    for split in ("train", "dev", "test"):
        text = (world / "glue" / "MRPC" / f"{split}.tsv").read_text(encoding="utf-8-sig")
        rows[split] = [line.split("\t") for line in text.splitlines()]
    for row in rows["dev"][1:]:
        row[1] = f"9{row[1]}"
    mixed = [row for pair in zip(rows["dev"][1:], rows["train"][1:], strict=False) for row in pair]
    mixed += rows["train"][len(rows["dev"]) :]
    ids = [[row[1], row[2]] for row in rows["dev"][1:]]
    files = {"train": [rows["train"][0], *mixed], "test": rows["test"], "dev_ids": ids}
    for name, table in files.items():
        with (folder / f"{name}.tsv").open("w", encoding="utf-8-sig" if name != "dev_ids" else "utf-8") as file:
            file.writelines("\t".join(row) + "\n" for row in table)
    return {name: str(folder / f"{name}.tsv") for name in files}


@pytest.fixture(scope="module")
def tfds_root(world, tfds_library, tmp_path_factory):
    """GLUE and SQuAD, prepared by TFDS's own code, and a Wikipedia of the same documents as the corpus."""
    root = tmp_path_factory.mktemp("tfds")
    mrpc = mrpc_sources(world, tmp_path_factory.mktemp("mrpc"))

    def downloaded(manager, urls):
        if isinstance(urls, str):
            return str(world / "glue")
        return mrpc if "dev_ids" in urls else {key: str(world / "squad" / Path(url).name) for key, url in urls.items()}

    with pytest.MonkeyPatch.context() as patch:
        for method in ("download", "download_and_extract"):
            patch.setattr(tfds_library.download.DownloadManager, method, downloaded)
        tfds_library.disable_progress_bar()
        for name in dict.fromkeys(conventions.HUB_TASKS[name].tfds for name in NAMES):
            tfds_library.builder(name, data_dir=str(root)).download_and_prepare()
    documents = [" ".join(sentences) for sentences in corpora.read_documents(world / CORPUS)]
    kind = tfds_library.features.Text()
    tfds_library.dataset_builders.store_as_tfds_dataset(
        name="wikipedia",
        config="20230601.en",
        version="1.0.0",
        features=tfds_library.features.FeaturesDict({"title": kind, "text": kind}),
        split_datasets={"train": [(n, {"title": str(n), "text": text}) for n, text in enumerate(documents)]},
        data_dir=str(root),
    )
    return root


@pytest.mark.parametrize("name", GLUE)
def test_tfds_glue_gives_the_official_examples(name, world, tfds_root):
    for split in splits(name, world):
        assert list(sources.read_examples("tfds", get_task(name), tfds_root, split)) == official(name, world, split)


@pytest.mark.parametrize("name", ["squad_v1_1_v1", "squad_v2_0_v1"])
def test_tfds_squad_gives_the_official_examples_by_id(name, world, tfds_root):
    for split in splits(name, world):
        expected = sorted(official(name, world, split), key=lambda example: example["id"])
        for number, example in enumerate(expected):
            example["idx"] = number
        assert list(sources.read_examples("tfds", get_task(name), tfds_root, split)) == expected


def test_tfds_stores_another_order_than_the_file(tfds_root):
    """Why `idx` decides: without it the test above could not fail."""
    stored = [row["idx"] for row in tfds.read_rows(tfds_root, "glue/mnli:2.0.0", "train")]
    assert stored != sorted(stored)
    assert sorted(stored) == list(range(len(stored)))
    assert [row["idx"] for row in tfds.read_rows(tfds_root, "glue/mrpc:2.0.0", "train")] != stored


def test_hub_tasks_cover_the_catalogue(tfds_library):
    """Label names and splits are those that TFDS declares."""
    assert set(TASKS) <= set(conventions.HUB_TASKS)
    for name, task in conventions.HUB_TASKS.items():
        builder = tfds_library.builder(task.tfds.partition(":")[0])
        assert str(builder.version) == task.tfds.partition(":")[2]
        assert set(task.columns()) <= set(builder.info.features)
        if name.startswith("glue") and task.classes:
            assert tuple(builder.info.features["label"].names) == task.classes


@pytest.fixture
def no_network(monkeypatch):
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("name", ["squad/v1.1:3.0.0", "no_such_set/a:1.0.0"])
def test_tfds_data_that_cannot_be_had(tmp_path, name, tfds_library, no_network):
    with pytest.raises(DataError) as caught:
        tfds.prepare(tmp_path, name)
    message = str(caught.value)
    assert str(tmp_path / name.replace(":", "/")) in message
    assert f"run: tfds build {name} --data_dir={tmp_path}" in message
    assert "tried now: " in message
    assert len(message) < 700


def test_data_stage_asks_tfds_for_what_is_absent(tmp_path, tfds_library, no_network):
    request = request_for("tfds", tmp_path, pretrain_corpora=("tfds:wikipedia/20230601.en",), pretrain_rates=(1.0,))
    lines = []
    with pytest.raises(DataError, match=r"tfds build wikipedia/20230601\.en --data_dir="):
        materialize(request, tmp_path / "out", lines.append)
    assert lines == [f"tfds: wikipedia/20230601.en is not prepared in {tmp_path}; downloading it"]


def test_odd_tfds_names_are_refused(tmp_path):
    for name in ("Wikipedia", "wikipedia/", "wikipedia:1.0", "../glue"):
        with pytest.raises(DataError, match=f"'{name}' names no TFDS data set; expected a form such as wikipedia/"):
            tfds.folder(tmp_path, name)


def test_damaged_tfds_records(tmp_path, tfds_root):
    shutil.copytree(tfds_root / "glue" / "sst2", tmp_path / "glue" / "sst2")
    path = next((tmp_path / "glue" / "sst2" / "2.0.0").glob("glue-train.tfrecord-*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"sst2/2\.0\.0: train: damaged records"):
        list(tfds.read_examples(get_task("glue_sst2_v1"), tmp_path, "train"))
    path.unlink()
    with pytest.raises(DataError, match=r"2\.0\.0/glue-train\.\* is missing: it should hold the train split of SST-2"):
        next(tfds.read_examples(get_task("glue_sst2_v1"), tmp_path, "train"))


def test_latest_version_counts(tmp_path):
    for version in ("1.9.0", "1.10.0", "incomplete.2.0.0"):
        (tmp_path / "wikipedia" / "x.en" / version).mkdir(parents=True)
        (tmp_path / "wikipedia" / "x.en" / version / "dataset_info.json").write_text("{}")
    assert tfds.folder(tmp_path, "wikipedia/x.en").name == "1.10.0"
    assert tfds.folder(tmp_path, "wikipedia/x.en:1.9.0").name == "1.9.0"
    assert tfds.folder(tmp_path, "wikipedia/x.en:2.0.0") is None


# --- Pretraining text ---


def write_corpus(world, folder, saved):
    """The corpus as `wikimedia/wikipedia` has it: an article a row, a paragraph a line."""
    articles = (world / CORPUS).read_text(encoding="utf-8").split("</doc>\n")[:-1]
    lines = [article.split("\n") for article in articles]
    table = pa.table(
        {
            "id": [str(number) for number in range(len(lines))],
            "title": [article[1] for article in lines],
            "text": ["\n\n".join(line for line in article[2:] if line) for article in lines],
        }
    )
    (write_saved if saved else write_hub)(folder, "train", table)


@pytest.mark.parametrize("saved", [False, True])
def test_hugging_face_corpus_gives_the_documents_of_the_file(world, tmp_path, saved):
    write_corpus(world, tmp_path / "wiki" / "20231101.en", saved)
    corpus = find_corpus(tmp_path, "hf:wiki/20231101.en")
    assert list(corpora.read_documents(corpus)) == list(corpora.read_documents(world / CORPUS))


def test_one_saved_dataset_is_a_corpus(world, tmp_path):
    write_corpus(world, tmp_path / "wiki", saved=True)
    alone = find_corpus(tmp_path, "hf:wiki/train")
    assert list(corpora.read_documents(alone)) == list(corpora.read_documents(world / CORPUS))


def test_tfds_corpus_gives_the_documents_of_the_file(world, tfds_root):
    read = list(corpora.read_documents(find_corpus(tfds_root, "tfds:wikipedia/20230601.en")))
    assert sorted(read) == sorted(corpora.read_documents(world / CORPUS))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "hf:none",
            r"none/train-00000-of-\*\.parquet .* is missing: it should hold pretraining text in the column 'text'",
        ),
        ("tfds:wikipedia/20230601.en", r"wikipedia/20230601\.en/VERSION/wikipedia-train\.\* is missing"),
        ("hf:titles", "no column 'text'; the columns are title"),
        ("hf:nothing", "hf:nothing in .*: no documents"),
    ],
)
def test_unusable_corpora(tmp_path, entry, message):
    write_hub(tmp_path / "titles", "train", pa.table({"title": ["a"]}), parts=1)
    write_hub(tmp_path / "nothing", "train", pa.table({"text": ["", "\n"]}), parts=1)
    with pytest.raises(DataError, match=message):
        list(corpora.read_documents(find_corpus(tmp_path, entry)))


def test_entries_without_a_known_word_are_paths(tmp_path):
    assert find_corpus(tmp_path, "pretrain/a.txt") == tmp_path / "pretrain/a.txt"
    assert find_corpus(tmp_path, "c:odd name.txt") == tmp_path / "c:odd name.txt"
    assert find_corpus(tmp_path, "hf:a:b") == HubCorpus("hf", tmp_path, "a:b")


# --- The data stage ---


def request_for(source, directory, **changes):
    values = {
        "source": source,
        "directory": str(directory),
        "vocabulary_size": 600,
        "pretrain_corpora": ("hf:wiki", "tfds:wikipedia/20230601.en"),
        "pretrain_rates": (0.8, 0.2),
        "pretrain_length": 32,
        "pretrain_max_rows": 60,
        "validation_rows": 20,
        "tasks": ("glue_stsb_v1",),
        "task_length": 32,
        "span_length": 64,
        "span_stride": 32,
        "max_query_length": 16,
        **changes,
    }
    return MaterializeRequest(**values)


@pytest.fixture(scope="module")
def mixed_root(world, tfds_root, hub_root, tmp_path_factory):
    """TFDS and Hugging Face data sets below one root."""
    root = tmp_path_factory.mktemp("mixed")
    write_corpus(world, root / "wiki", saved=False)
    for origin in (hub_root, tfds_root):
        for path in origin.rglob("*"):
            target = root / path.relative_to(origin)
            if path.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.hardlink_to(path)
    return root


@pytest.mark.parametrize("source", ["hf", "tfds"])
def test_gin_chooses_source_and_mixture(source):
    config = gin_loader.load(
        ["gin/tracks/small_cpu.gin", "gin/data/wikipedia_and_novels.gin"],
        [f"DataConfig.source='{source}'", "DataConfig.directory='/data'"],
    ).config
    request = config.data.request()
    assert (request.source, request.directory) == (source, "/data")
    assert request.pretrain_rates == (0.8, 0.2)
    assert [Path(entry).parent.name for entry in request.pretrain_corpora] == ["wikipedia-en", "english-novels"]
    with pytest.raises(ConfigError, match=f"folder of the data when source = '{source}'"):
        dataclasses.replace(config.data, directory="")


def test_every_source_gives_the_same_arrays(mixed_root, world, tmp_path):
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    tokens = [*vocabulary.SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary.write(tokens, tmp_path / "vocab.txt")
    same = {"vocabulary": str(tmp_path / "vocab.txt"), "vocabulary_size": len(tokens)}
    one = materialize(request_for("hf", mixed_root, **same), tmp_path / "hf")
    two = materialize(request_for("tfds", mixed_root, **same), tmp_path / "tfds")
    three = materialize(
        request_for("files", world, **same, pretrain_corpora=(CORPUS,), pretrain_rates=(1.0,)), tmp_path / "files"
    )
    for split, folder in three["tasks"]["glue_stsb_v1"].items():
        for name, data in (("hf", one), ("tfds", two)):
            read = arrays.load(tmp_path / name / data["tasks"]["glue_stsb_v1"][split]).features
            for feature, values in arrays.load(tmp_path / "files" / folder).features.items():
                assert np.array_equal(read[feature], values)
    # Everything that was read is named, and a change of it gives other arrays.
    digested = set(two["source_files"])
    assert {"glue/stsb/2.0.0/dataset_info.json", "glue/stsb/2.0.0/glue-train.tfrecord-00000-of-00001"} <= digested
    assert {"wiki/train-00000-of-00002.parquet", "wikipedia/20230601.en/1.0.0/features.json"} <= digested
    assert any(name.startswith("glue/stsb/") and "2.0.0" not in name for name in one["source_files"])
    assert one["pretrain"] == two["pretrain"]


def test_arrays_follow_the_content_and_are_reused(tmp_path, monkeypatch):
    root = tmp_path / "root"
    for split in ("train", "validation"):
        write_hub(root / "glue" / "sst2", split, sst2(), parts=1)
    (root / "a.txt").write_text("The film is good. The book is bad. " * 400)
    request = request_for(
        "hf", root, tasks=("glue_sst2_v1",), pretrain_corpora=("a.txt",), pretrain_rates=(1.0,), vocabulary_size=40
    )
    first = materialize(request, tmp_path / "out")["tasks"]["glue_sst2_v1"]
    with monkeypatch.context() as patch:
        # Whatever imports it now fails.
        patch.setitem(sys.modules, "tasks.seqio_tasks", None)
        assert materialize(request, tmp_path / "out")["tasks"]["glue_sst2_v1"] == first
    write_hub(root / "glue" / "sst2", "validation", sst2(label=[0, 0]), parts=1)
    second = materialize(request, tmp_path / "out")["tasks"]["glue_sst2_v1"]
    assert second["train"] == first["train"]
    assert second["validation"] != first["validation"]
    (root / "glue" / "sst2" / "train-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match=r"glue/sst2/train-00000-of-\*.* is missing: .* the train split of SST-2"):
        materialize(request, tmp_path / "out")
