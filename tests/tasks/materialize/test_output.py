"""From official files to token arrays on disk: folders, types and names."""

import dataclasses
import json

import numpy as np
import pytest

from tasks.arrays import token_arrays
from tasks.encoding import vocabulary
from tasks.materialize.steps import MaterializeRequest, materialize
from tests.helpers.data_requests import data_request
from tests.tasks.materialize.official import TEXT, make_request


def test_data_json_names_everything(made, root):
    output, data, lines = made
    assert json.loads((output / "data.json").read_text()) == data
    assert set(data) == {
        "vocabulary",
        "pretrain_task",
        "pretrain",
        "tasks",
        "task_sources",
        "contamination",
        "warnings",
        "own_tasks",
        "unknown_tokens",
        "source_files",
        "request",
        "seconds",
    }
    assert set(data["tasks"]["glue_sst2_v1"]) == {"train", "validation", "test"}
    assert set(data["tasks"]["squad_v1_1_v1"]) == {"train", "validation"}
    assert MaterializeRequest.from_dict(data["request"]) == make_request(root)
    assert "glue/SST-2/train.tsv" in data["source_files"]
    assert data["source_files"]["pretrain/a.txt"]["bytes"] == (root / "pretrain" / "a.txt").stat().st_size
    loaded = vocabulary.load(output / data["vocabulary"]["path"])
    assert json.loads(json.dumps({**vars(loaded), "path": loaded.path.name})) == data["vocabulary"]
    assert any(line.startswith("pretrain: train") for line in lines)


def test_every_directory_is_whole(made):
    output, data, _ = made
    directories = [*data["pretrain"].values(), *(path for splits in data["tasks"].values() for path in splits.values())]
    for directory in directories:
        assert token_arrays.damage(output / directory) is None
    assert [path.name for path in output.iterdir() if path.name.startswith(".")] == [".lock"]


def test_types_and_shapes(made):
    output, data, _ = made
    rows = token_arrays.load(output / data["tasks"]["glue_sst2_v1"]["train"])
    assert {name: (array.dtype.name, array.shape) for name, array in rows.features.items()} == {
        "input_ids": ("uint16", (20, 16)),
        "token_type_ids": ("uint8", (20, 16)),
        "label": ("int32", (20,)),
        "index": ("int32", (20,)),
    }
    labels = token_arrays.load(output / data["tasks"]["glue_stsb_v1"]["validation"]).features["label"]
    assert labels.dtype == np.float32
    assert np.asarray(labels) == pytest.approx([n / 5 for n in range(10)])
    assert set(token_arrays.load(output / data["tasks"]["glue_sst2_v1"]["test"]).features["label"]) == {-1}
    spans = token_arrays.load(output / data["tasks"]["squad_v1_1_v1"]["train"])
    assert {name: array.dtype.name for name, array in spans.features.items()} == {
        "input_ids": "uint16",
        "token_type_ids": "uint8",
        "start_position": "int32",
        "end_position": "int32",
        "example_index": "int32",
        "offsets": "int32",
        "is_max_context": "uint8",
    }
    assert spans.features["offsets"].shape == (spans.num_rows, 24, 2)


def test_examples_lie_beside_the_arrays(made):
    output, data, _ = made
    examples = token_arrays.load_examples(output / data["tasks"]["squad_v1_1_v1"]["validation"])
    assert [example["id"] for example in examples] == ["dev0", "dev1"]
    assert set(examples[0]) == {"id", "title", "question", "context", "answers", "is_impossible"}


def test_pretraining_rows_are_split_without_loss(made, root, tmp_path):
    output, data, _ = made
    train, held_out = (token_arrays.load(output / data["pretrain"][split]) for split in ("train", "validation"))
    assert held_out.num_rows == 17
    tokens = sum(int((rows.features["input_ids"] > 4).sum()) for rows in (train, held_out))
    tokenizer = vocabulary.tokenizer(output / data["vocabulary"]["path"])
    counts = [60, 20]
    texts = [TEXT[n % 7 * 30 :] for count in counts for n in range(count)]
    assert tokens == sum(len(encoding.ids) for encoding in tokenizer.encode_batch(texts, add_special_tokens=False))


def test_row_limit_and_validation_file(copy, root):
    output = copy
    request = make_request(
        root, tasks=(), pretrain_max_rows=50, pretrain_validation="pretrain/validation.txt", validation_rows=12
    )
    data = materialize(request, output)
    assert token_arrays.load(output / data["pretrain"]["train"]).num_rows == 50
    assert token_arrays.load(output / data["pretrain"]["validation"]).num_rows == 12
    other = materialize(dataclasses.replace(request, pretrain_rates=(0.5, 0.5)), output)
    assert other["pretrain"]["train"] != data["pretrain"]["train"]
    assert other["pretrain"]["validation"] == data["pretrain"]["validation"]


def test_sentence_pairs(root, tmp_path):
    request = make_request(root, sentence_pairs=True, tasks=(), pretrain_length=24)
    data = materialize(request, tmp_path)
    assert data["pretrain_task"] == "pretrain_mlm_nsp_v1"
    assert data["pretrain"]["train"].startswith("pretrain_mlm_nsp_v1-train-")
    rows = token_arrays.load(tmp_path / data["pretrain"]["train"])
    assert {name: (array.dtype.name, array.shape[1:]) for name, array in rows.features.items()} == {
        "input_ids": ("uint16", (24,)),
        "token_type_ids": ("uint8", (24,)),
        "next_sentence_label": ("uint8", ()),
        "document": ("uint32", ()),
    }
    assert token_arrays.load(tmp_path / data["pretrain"]["validation"]).num_rows == 17
    again = materialize(request, tmp_path / "again")
    assert again["pretrain"] == data["pretrain"]
    for directory in data["pretrain"].values():
        for path in (tmp_path / directory).glob("*.npy"):
            assert path.read_bytes() == (tmp_path / "again" / directory / path.name).read_bytes()
    other = materialize(dataclasses.replace(request, pretrain_seed=1), tmp_path / "other")
    assert other["pretrain"]["train"] != data["pretrain"]["train"]


def test_same_request_elsewhere_gives_the_same_names_and_bytes(made, root, tmp_path):
    output, data, _ = made
    other = materialize(make_request(root), tmp_path)
    assert (other["pretrain"], other["tasks"], other["vocabulary"]) == (
        data["pretrain"],
        data["tasks"],
        data["vocabulary"],
    )
    for path in tmp_path.rglob("*.npy"):
        assert path.read_bytes() == (output / path.relative_to(tmp_path)).read_bytes()


def test_changed_source_gets_new_directories(made, root, copy):
    _, data, _ = made
    path = root / "glue" / "STS-B" / "dev.tsv"
    before = path.read_text()
    try:
        path.write_text(before.replace("0.2", "0.4"))
        changed = materialize(make_request(root), copy)
    finally:
        path.write_text(before)
    assert changed["tasks"]["glue_stsb_v1"]["validation"] != data["tasks"]["glue_stsb_v1"]["validation"]
    assert changed["tasks"]["glue_stsb_v1"]["train"] == data["tasks"]["glue_stsb_v1"]["train"]


def test_microworld_is_generated_once(tmp_path, monkeypatch):
    microworld = pytest.importorskip("tasks.microworld")
    request = data_request(
        source="microworld",
        microworld_scale=0.02,
        vocabulary_size=600,
        pretrain_corpora=("pretrain/microworld/corpus.wikiextractor.txt",),
        pretrain_rates=(1.0,),
        pretrain_validation="pretrain/microworld/validation.wikiextractor.txt",
        pretrain_length=32,
        validation_rows=20,
        tasks=("glue_sst2_v1", "glue_mnli_mismatched_v1", "squad_v2_0_v1"),
        task_length=32,
        span_length=64,
        span_stride=32,
        max_query_length=16,
    )
    data = materialize(request, tmp_path)
    assert data["vocabulary"]["size"] == 600
    for split in data["tasks"]["glue_mnli_mismatched_v1"].values():
        assert token_arrays.load(tmp_path / split).num_rows > 0
    monkeypatch.setattr(microworld, "generate", None)
    assert materialize(request, tmp_path)["tasks"] == data["tasks"]


@pytest.mark.real_data
def test_real_files(data_root, tmp_path):
    request = make_request(
        data_root,
        vocabulary="vocab/bert-base-uncased.txt",
        vocabulary_size=30_522,
        pretrain_corpora=("pretrain/wikipedia-en/AA.wikiextractor.txt.xz", "pretrain/english-novels/corpus.tar.xz"),
        pretrain_length=128,
        pretrain_max_rows=1000,
        tasks=("glue_mrpc_v1", "glue_rte_v1"),
        task_length=128,
    )
    data = materialize(request, tmp_path)
    sizes = {
        (task, split): token_arrays.load(tmp_path / directory).num_rows
        for task, splits in data["tasks"].items()
        for split, directory in splits.items()
    }
    assert sizes == {
        ("glue_mrpc_v1", "train"): 3668,
        ("glue_mrpc_v1", "validation"): 408,
        ("glue_mrpc_v1", "test"): 1725,
        ("glue_rte_v1", "train"): 2490,
        ("glue_rte_v1", "validation"): 277,
        ("glue_rte_v1", "test"): 3000,
    }
    assert token_arrays.load(tmp_path / data["pretrain"]["train"]).features["input_ids"].shape == (1000, 128)
