"""From official files to token arrays on disk, in this process and in a child."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tasks import arrays, vocabulary
from tasks.errors import DataError
from tasks.materialize import MaterializeRequest, materialize, run_in_child

ADJECTIVES = ["good", "bad", "long", "short", "red", "blue", "warm", "cold"]
NOUNS = ["film", "book", "house", "river", "cat", "dog"]
TEXT = " ".join(f"the {adjective} {noun} is here ." for adjective in ADJECTIVES for noun in NOUNS)


def squad(prefix, count):
    context = "the good film is here . " * 6
    answer = {"text": "film", "answer_start": 9}
    questions = [{"id": f"{prefix}{n}", "question": "what is here ?", "answers": [answer]} for n in range(count)]
    return json.dumps({"data": [{"title": "Film", "paragraphs": [{"context": context, "qas": questions}]}]})


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """A data root in the official layout: 20 + 10 (+ 5) rows of two GLUE tasks, 4 + 2 questions, two corpora."""
    root = tmp_path_factory.mktemp("data")
    for folder in ("glue/SST-2", "glue/STS-B", "squad", "pretrain"):
        (root / folder).mkdir(parents=True)
    for name, count in {"train": 20, "dev": 10}.items():
        rows = "".join(f"the {ADJECTIVES[n % 8]} film\t{n % 2}\n" for n in range(count))
        (root / "glue" / "SST-2" / f"{name}.tsv").write_text("sentence\tlabel\n" + rows)
        rows = "".join(f"the film\tthe {NOUNS[n % 6]}\t{n / 5}\n" for n in range(count))
        (root / "glue" / "STS-B" / f"{name}.tsv").write_text("sentence1\tsentence2\tscore\n" + rows)
        (root / "squad" / f"{name}-v1.1.json").write_text(squad(name, count // 5))
    (root / "glue" / "SST-2" / "test.tsv").write_text(
        "index\tsentence\n" + "".join(f"{n}\tthe cat\n" for n in range(5))
    )
    for name, count in {"a": 60, "b": 20, "validation": 9}.items():
        text = "".join(f'<doc id="{n}">\nT\n\n{TEXT[n % 7 * 30 :]}\n</doc>\n' for n in range(count))
        (root / "pretrain" / f"{name}.txt").write_text(text)
    return root


def make_request(root, **changes):
    request = MaterializeRequest(
        source="files",
        directory=str(root),
        vocabulary="train",
        vocabulary_size=100,
        pretrain_corpora=("pretrain/a.txt", "pretrain/b.txt"),
        pretrain_rates=(0.7, 0.3),
        pretrain_length=32,
        validation_rows=17,
        tasks=("glue_sst2_v1", "glue_stsb_v1", "squad_v1_1_v1"),
        task_length=16,
        span_length=24,
        span_stride=8,
        max_query_length=6,
    )
    return dataclasses.replace(request, **changes)


@pytest.fixture(scope="session")
def made(root, tmp_path_factory):
    output = tmp_path_factory.mktemp("output")
    lines = []
    return output, materialize(make_request(root), output, lines.append), lines


def test_data_json_names_everything(made, root):
    output, data, lines = made
    assert json.loads((output / "data.json").read_text()) == data
    assert set(data) == {
        "vocabulary",
        "pretrain",
        "tasks",
        "task_sources",
        "warnings",
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
    assert {**vars(loaded), "path": loaded.path.name} == data["vocabulary"]
    assert any(line.startswith("pretrain: train") for line in lines)


def test_every_directory_is_whole(made):
    output, data, _ = made
    directories = [*data["pretrain"].values(), *(path for splits in data["tasks"].values() for path in splits.values())]
    for directory in directories:
        arrays.verify(output / directory)
    assert not [path for path in output.iterdir() if path.name.startswith(".")]


def test_types_and_shapes(made):
    output, data, _ = made
    rows = arrays.load(output / data["tasks"]["glue_sst2_v1"]["train"])
    assert {name: (array.dtype.name, array.shape) for name, array in rows.features.items()} == {
        "input_ids": ("uint16", (20, 16)),
        "token_type_ids": ("uint8", (20, 16)),
        "label": ("int32", (20,)),
        "index": ("int32", (20,)),
    }
    labels = arrays.load(output / data["tasks"]["glue_stsb_v1"]["validation"]).features["label"]
    assert labels.dtype == np.float32
    assert np.asarray(labels) == pytest.approx([n / 5 for n in range(10)])
    assert set(arrays.load(output / data["tasks"]["glue_sst2_v1"]["test"]).features["label"]) == {-1}
    spans = arrays.load(output / data["tasks"]["squad_v1_1_v1"]["train"])
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
    examples = arrays.load_examples(output / data["tasks"]["squad_v1_1_v1"]["validation"])
    assert [example["id"] for example in examples] == ["dev0", "dev1"]
    assert set(examples[0]) == {"id", "title", "question", "context", "answers", "is_impossible"}


def test_pretraining_rows_are_split_without_loss(made, root, tmp_path):
    output, data, _ = made
    train, held_out = (arrays.load(output / data["pretrain"][split]) for split in ("train", "validation"))
    assert held_out.num_rows == 17
    tokens = sum(int((rows.features["input_ids"] > 4).sum()) for rows in (train, held_out))
    tokenizer = vocabulary.tokenizer(output / data["vocabulary"]["path"])
    counts = [60, 20]
    texts = [TEXT[n % 7 * 30 :] for count in counts for n in range(count)]
    assert tokens == sum(len(encoding.ids) for encoding in tokenizer.encode_batch(texts, add_special_tokens=False))


def test_second_call_builds_nothing(made, root):
    output, data, _ = made
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.npy")}
    lines = []
    start = time.perf_counter()
    again = run_in_child(make_request(root), output, lines.append)
    assert time.perf_counter() - start < 1.0
    assert lines == []
    assert again == data
    assert before == {path: path.stat().st_mtime_ns for path in output.rglob("*.npy")}


def test_same_request_elsewhere_gives_the_same_names_and_bytes(made, root, tmp_path):
    output, data, _ = made
    other = materialize(make_request(root, processes=1), tmp_path)
    assert (other["pretrain"], other["tasks"], other["vocabulary"]) == (
        data["pretrain"],
        data["tasks"],
        data["vocabulary"],
    )
    for path in tmp_path.rglob("*.npy"):
        assert path.read_bytes() == (output / path.relative_to(tmp_path)).read_bytes()


def test_damaged_directory_is_built_anew(made, root):
    output, data, _ = made
    directory = output / data["tasks"]["glue_stsb_v1"]["train"]
    before = (directory / "label.npy").read_bytes()
    (directory / "label.npy").write_bytes(before[:-4])
    materialize(make_request(root), output)
    assert (directory / "label.npy").read_bytes() == before


def test_row_limit_and_validation_file(made, root):
    output, _, _ = made
    request = make_request(
        root, tasks=(), pretrain_max_rows=50, pretrain_validation="pretrain/validation.txt", validation_rows=12
    )
    data = materialize(request, output)
    assert arrays.load(output / data["pretrain"]["train"]).num_rows == 50
    assert arrays.load(output / data["pretrain"]["validation"]).num_rows == 12
    other = materialize(dataclasses.replace(request, pretrain_rates=(0.5, 0.5)), output)
    assert other["pretrain"]["train"] != data["pretrain"]["train"]
    assert other["pretrain"]["validation"] == data["pretrain"]["validation"]


def test_changed_source_gets_new_directories(made, root, tmp_path):
    output, data, _ = made
    path = root / "glue" / "STS-B" / "dev.tsv"
    before = path.read_text()
    try:
        path.write_text(before.replace("0.2", "0.4"))
        changed = materialize(make_request(root), output)
    finally:
        path.write_text(before)
    assert changed["tasks"]["glue_stsb_v1"]["validation"] != data["tasks"]["glue_stsb_v1"]["validation"]
    assert changed["tasks"]["glue_stsb_v1"]["train"] == data["tasks"]["glue_stsb_v1"]["train"]


def test_child_relays_progress_and_keeps_tensorflow_away(root, tmp_path):
    code = (
        "import sys, json, pathlib\n"
        "from tasks.materialize import MaterializeRequest, run_in_child\n"
        "request = MaterializeRequest.from_dict(json.loads(sys.argv[1]))\n"
        "lines = []\n"
        "data = run_in_child(request, pathlib.Path(sys.argv[2]), lines.append)\n"
        "assert not {'tensorflow', 'seqio', 'jax'} & set(sys.modules)\n"
        "assert any(line.startswith('glue_sst2_v1: train 20 rows') for line in lines), lines\n"
        "print(json.dumps(data['tasks']))"
    )
    request = make_request(root, tasks=("glue_sst2_v1",))
    arguments = [json.dumps(dataclasses.asdict(request)), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["glue_sst2_v1"]) == {"train", "validation", "test"}
    assert done.stderr == ""


def test_childs_error_is_the_parents(root, tmp_path):
    (tmp_path / "data" / "pretrain").mkdir(parents=True)
    (tmp_path / "data" / "pretrain" / "a.txt").write_bytes(b"caf\xe9")
    request = make_request(tmp_path / "data", pretrain_corpora=("pretrain/a.txt",), pretrain_rates=(1.0,))
    with pytest.raises(DataError, match="a.txt: line 1: byte 0xe9 at position 3 is not UTF-8"):
        run_in_child(request, tmp_path / "output")
    assert not (tmp_path / "output" / "data.json").exists()


def test_killed_run_is_finished_by_the_next(made, root, tmp_path):
    """Killed as soon as the first array directory is there: what is left is whole, and the next call completes it."""
    code = "from tasks.child import main; main()"
    message = json.dumps({"request": dataclasses.asdict(make_request(root)), "output": str(tmp_path)})
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"},
    )
    assert process.stdin is not None
    process.stdin.write(message.encode())
    process.stdin.close()
    while process.poll() is None and not list(tmp_path.glob("pretrain-train-*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for directory in tmp_path.iterdir():
        if directory.is_dir() and not directory.name.startswith("."):
            arrays.verify(directory)
    _, data, _ = made
    assert materialize(make_request(root), tmp_path)["tasks"] == data["tasks"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ("glue_rte_v1",)}, r"RTE/train\.tsv .* is missing: it should hold the train split of RTE"),
        ({"pretrain_corpora": ("pretrain/none.txt", "pretrain/a.txt")}, r"none\.txt is missing"),
        ({"vocabulary": "vocab.txt"}, "vocabulary .*vocab.txt is missing"),
        ({"vocabulary_size": 9}, "vocabulary_size is 9; these texts need at least"),
        ({"validation_rows": 100_000}, "more than validation_rows"),
    ],
)
def test_unusable_requests(root, tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        materialize(make_request(root, **changes), tmp_path)
    assert not (tmp_path / "data.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "web"}, "source is 'web'; expected one of microworld, files"),
        ({"directory": ""}, "directory"),
        ({"pretrain_rates": (1.0,)}, "pretrain_rates"),
        ({"pretrain_rates": (1.0, 0.0)}, "pretrain_rates"),
        ({"pretrain_corpora": ("a", "a")}, "no path twice"),
        ({"pretrain_length": 4}, "pretrain_length is 4; expected an integer of at least 8"),
        ({"validation_rows": 0}, "validation_rows"),
        ({"max_query_length": 21}, "max_query_length is 21; expected less than span_length - 3 = 21"),
        ({"tasks": ("glue_sst2",)}, "did you mean glue_sst2_v1"),
        ({"microworld_scale": 0.0}, "microworld_scale"),
    ],
)
def test_requests_are_checked(root, changes, message):
    with pytest.raises(DataError, match=message):
        make_request(root, **changes)


def test_microworld_is_generated_once(tmp_path, monkeypatch):
    microworld = pytest.importorskip("tasks.microworld")
    request = MaterializeRequest(
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
        assert arrays.load(tmp_path / split).num_rows > 0
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
        (task, split): arrays.load(tmp_path / directory).num_rows
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
    assert arrays.load(tmp_path / data["pretrain"]["train"]).features["input_ids"].shape == (1000, 128)
