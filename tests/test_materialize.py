"""From official files to token arrays on disk, in this process and in a child."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tasks import arrays, child, locks, vocabulary
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


@pytest.fixture
def copy(made, tmp_path):
    """What `made` made, to change."""
    return Path(shutil.copytree(made[0], tmp_path / "copy"))


def test_data_json_names_everything(made, root):
    output, data, lines = made
    assert json.loads((output / "data.json").read_text()) == data
    assert set(data) == {
        "vocabulary",
        "pretrain_task",
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
    assert [path.name for path in output.iterdir() if path.name.startswith(".")] == [".lock"]


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


def flip(path):
    """Changes one bit in the middle of a file, and neither its size nor its time of change."""
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=times)


@pytest.mark.parametrize("damage", [flip, lambda path: path.write_bytes(path.read_bytes()[:-4]), Path.unlink])
@pytest.mark.parametrize("name", ["label.npy", "meta.json"])
def test_damaged_directory_is_built_anew(made, root, copy, damage, name):
    output, data, _ = made
    directory = data["tasks"]["glue_stsb_v1"]["train"]
    damage(copy / directory / name)
    lines = []
    assert materialize(make_request(root), copy, lines.append)["tasks"] == data["tasks"]
    assert [line for line in lines if "building it again" in line] == lines[:1]
    # A digest that was changed in meta.json speaks against the file that it belongs to.
    assert str(copy / directory / ("" if name == "meta.json" else name)) in lines[0]
    for path in (output / directory).iterdir():
        assert (copy / directory / path.name).read_bytes() == path.read_bytes()


def test_damaged_pretraining_rows_are_built_anew(made, root, copy):
    output, data, _ = made
    for directory in data["pretrain"].values():
        flip(copy / directory / "input_ids.npy")
    lines = []
    materialize(make_request(root), copy, lines.append)
    assert sum("building it again" in line for line in lines) == 2
    for directory in data["pretrain"].values():
        assert (copy / directory / "input_ids.npy").read_bytes() == (output / directory / "input_ids.npy").read_bytes()


def test_damaged_vocabulary_is_trained_anew(made, root, copy):
    output, data, _ = made
    name = data["vocabulary"]["path"]
    (copy / name).write_bytes((copy / name).read_bytes().replace(b"film", b"flim"))
    lines = []
    assert materialize(make_request(root), copy, lines.append)["vocabulary"] == data["vocabulary"]
    assert "training it again" in lines[0]
    assert (copy / name).read_bytes() == (output / name).read_bytes()


def test_data_stage_finds_a_flipped_bit(root, tmp_path, monkeypatch):
    """The stage is not skipped because of its marker when its arrays are no longer what they were."""
    from benchmark import stages
    from benchmark.config import DataConfig
    from benchmark.gin_loader import load_run_config
    from tasks import materialize as module

    monkeypatch.setattr(module, "run_in_child", materialize)
    fields = dataclasses.asdict(make_request(root, tasks=("glue_stsb_v1",)))
    data = DataConfig(**{**{name: fields[name] for name in fields if name != "processes"}, "max_query_length": 6})
    config = load_run_config(["gin/quickstart.gin"], [])
    config = dataclasses.replace(config, data=data, finetune=dataclasses.replace(config.finetune, epochs=(1.0,)))
    lines = []
    run = stages.Run(config, tmp_path, lines.append)
    assert not stages.data_stage(run)["reused"]
    assert stages.data_stage(run)["reused"]
    array = tmp_path / "data" / run.data["tasks"]["glue_stsb_v1"]["train"] / "input_ids.npy"
    before = array.read_bytes()
    flip(array)
    lines.clear()
    assert not stages.data_stage(run)["reused"]
    assert sum(f"{array}: sha256 is" in line for line in lines) == 1
    assert array.read_bytes() == before


def test_sentence_pairs(root, tmp_path):
    request = make_request(root, sentence_pairs=True, tasks=(), pretrain_length=24)
    data = materialize(request, tmp_path)
    assert data["pretrain_task"] == "pretrain_mlm_nsp_v1"
    assert data["pretrain"]["train"].startswith("pretrain_mlm_nsp_v1-train-")
    rows = arrays.load(tmp_path / data["pretrain"]["train"])
    assert {name: (array.dtype.name, array.shape[1:]) for name, array in rows.features.items()} == {
        "input_ids": ("uint16", (24,)),
        "token_type_ids": ("uint8", (24,)),
        "next_sentence_label": ("uint8", ()),
    }
    assert arrays.load(tmp_path / data["pretrain"]["validation"]).num_rows == 17
    again = materialize(dataclasses.replace(request, processes=1), tmp_path / "again")
    assert again["pretrain"] == data["pretrain"]
    for directory in data["pretrain"].values():
        for path in (tmp_path / directory).glob("*.npy"):
            assert path.read_bytes() == (tmp_path / "again" / directory / path.name).read_bytes()
    other = materialize(dataclasses.replace(request, pretrain_seed=1), tmp_path / "other")
    assert other["pretrain"]["train"] != data["pretrain"]["train"]


def test_sentence_pairs_need_documents(root, tmp_path):
    request = make_request(root, sentence_pairs=True, tasks=(), pretrain_corpora=("plain.txt",), pretrain_rates=(1.0,))
    request = dataclasses.replace(request, directory=str(tmp_path))
    (tmp_path / "plain.txt").write_text(TEXT)
    with pytest.raises(DataError, match=r"plain\.txt: one document; sentence pairs need at least two"):
        materialize(request, tmp_path / "output")


def test_leftovers_are_removed(made, root, copy):
    _, data, _ = made
    old = {*data["pretrain"].values()}
    (copy / ".building-of-a-dead-process").mkdir()
    (copy / ".data.json-0123abcd").write_text("{")
    (copy / "vocabulary-0123456789ab.txt").write_text("old")
    (copy / "mine").mkdir()
    (copy / "notes.txt").write_text("mine")
    changed = materialize(make_request(root, pretrain_length=40), copy)
    kept = {path.name for path in copy.iterdir()}
    directories = {
        *changed["pretrain"].values(),
        *(name for task in changed["tasks"].values() for name in task.values()),
    }
    assert not old & kept
    assert kept == directories | {".lock", "data.json", changed["vocabulary"]["path"], "mine", "notes.txt"}


def test_folders_of_live_processes_stay(made, root, copy):
    """Another process builds one folder and reads another: both stay until it ends."""
    _, data, _ = made
    building, reading = ".building-of-a-live-process", data["pretrain"]["train"]
    (copy / building).mkdir()
    code = (
        "import sys, pathlib\n"
        "from tasks import arrays, locks\n"
        "rows = arrays.load(sys.argv[2])\n"
        "with locks.held_alone(pathlib.Path(sys.argv[1])):\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(copy / building), str(copy / reading)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )
    with other:
        assert other.stdout is not None and other.stdout.readline() == b"ready\n"
        materialize(make_request(root, pretrain_length=40), copy)
        assert (copy / building).is_dir()
        arrays.verify(copy / reading)
        other.kill()
    materialize(make_request(root, pretrain_length=40), copy)
    assert not (copy / building).exists()
    assert not (copy / reading).exists()


def test_second_process_waits_and_builds_nothing(made, root, copy):
    lines = []
    with ThreadPoolExecutor(1) as pool:
        with locks.one_builder(copy):
            second = pool.submit(materialize, make_request(root), copy, lines.append)
            while not lines:
                time.sleep(0.01)
            assert not second.done()
        assert second.result()["tasks"] == made[1]["tasks"]
    assert lines == [f"waiting for the process that builds in {copy}"]


def test_row_limit_and_validation_file(copy, root):
    output = copy
    request = make_request(
        root, tasks=(), pretrain_max_rows=50, pretrain_validation="pretrain/validation.txt", validation_rows=12
    )
    data = materialize(request, output)
    assert arrays.load(output / data["pretrain"]["train"]).num_rows == 50
    assert arrays.load(output / data["pretrain"]["validation"]).num_rows == 12
    other = materialize(dataclasses.replace(request, pretrain_rates=(0.5, 0.5)), output)
    assert other["pretrain"]["train"] != data["pretrain"]["train"]
    assert other["pretrain"]["validation"] == data["pretrain"]["validation"]


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


def test_childs_trouble_with_the_disk_is_one_line(root, tmp_path):
    (tmp_path / "output").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"output: File exists$"):
        child.run(make_request(root), tmp_path / "output", lambda line: None)


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
    while process.poll() is None and not list(tmp_path.glob("pretrain_mlm_v1-train-*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for directory in tmp_path.iterdir():
        if directory.is_dir() and not directory.name.startswith("."):
            arrays.verify(directory)
    _, data, _ = made
    assert materialize(make_request(root), tmp_path)["tasks"] == data["tasks"]
    assert not list(tmp_path.glob(".building-*"))


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
        ({"sentence_pairs": "yes"}, "sentence_pairs is 'yes'; expected True or False"),
        ({"pretrain_seed": -1}, "pretrain_seed"),
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
