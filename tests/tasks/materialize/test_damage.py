"""Damaged arrays are built again, leftovers removed, and folders that other processes build or read stay."""

import dataclasses
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.arrays import token_arrays
from tasks.materialize.steps import materialize
from tasks.system import file_lock
from tasks.system.repository import REPOSITORY
from tests.tasks.materialize.official import flip, make_request


@pytest.mark.parametrize("damage", [flip, lambda path: path.write_bytes(path.read_bytes()[:-4]), Path.unlink])
@pytest.mark.parametrize("name", ["label.npy", "meta.json"])
def test_damaged_directory_is_built_again(made, root, copy, damage, name):
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


def test_damaged_pretraining_rows_are_built_again(made, root, copy):
    output, data, _ = made
    for directory in data["pretrain"].values():
        flip(copy / directory / "input_ids.npy")
    lines = []
    materialize(make_request(root), copy, lines.append)
    assert sum("building it again" in line for line in lines) == 2
    for directory in data["pretrain"].values():
        assert (copy / directory / "input_ids.npy").read_bytes() == (output / directory / "input_ids.npy").read_bytes()


def test_damaged_vocabulary_is_trained_again(made, root, copy):
    output, data, _ = made
    name = data["vocabulary"]["path"]
    (copy / name).write_bytes((copy / name).read_bytes().replace(b"film", b"flim"))
    lines = []
    assert materialize(make_request(root), copy, lines.append)["vocabulary"] == data["vocabulary"]
    assert "training it again" in lines[0]
    assert (copy / name).read_bytes() == (output / name).read_bytes()


def test_data_stage_finds_a_flipped_bit(root, tmp_path, monkeypatch):
    """The stage is not skipped because of its marker when its arrays are no longer what they were."""
    from benchmark.cli.gin_loader import load_run_config
    from benchmark.config import DataConfig
    from benchmark.pipeline import run_context
    from benchmark.pipeline.data import data_stage
    from tasks.materialize import steps as module

    monkeypatch.setattr(module, "run_in_child", materialize)
    fields = dataclasses.asdict(make_request(root, tasks=("glue_stsb_v1",)))
    data = DataConfig(**fields)
    config = load_run_config(["gin/quickstart.gin"], [])
    config = dataclasses.replace(config, data=data, finetune=dataclasses.replace(config.finetune, epochs=(1.0,)))
    lines = []
    run = run_context.Run(config, tmp_path, lines.append)
    assert not data_stage(run)["reused"]
    assert data_stage(run)["reused"]
    array = tmp_path / "data" / run.data["tasks"]["glue_stsb_v1"]["train"] / "input_ids.npy"
    before = array.read_bytes()
    flip(array)
    lines.clear()
    assert not data_stage(run)["reused"]
    assert sum(f"{array}: sha256 is" in line for line in lines) == 1
    assert array.read_bytes() == before


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
    counted = {counts["file"] for counts in changed["contamination"].values()}
    assert kept == directories | counted | {".lock", "data.json", changed["vocabulary"]["path"], "mine", "notes.txt"}


def test_folders_of_live_processes_stay(made, root, copy):
    """Another process builds one folder and reads another: both stay until it ends."""
    _, data, _ = made
    building, reading = ".building-of-a-live-process", data["pretrain"]["train"]
    (copy / building).mkdir()
    code = (
        "import sys, pathlib\n"
        "from tasks.arrays import token_arrays as arrays\n"
        "from tasks.system import file_lock\n"
        "rows = arrays.load(sys.argv[2])\n"
        "with file_lock.exclusive_lock(pathlib.Path(sys.argv[1])):\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(copy / building), str(copy / reading)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    with other:
        assert other.stdout is not None and other.stdout.readline() == b"ready\n"
        materialize(make_request(root, pretrain_length=40), copy)
        assert (copy / building).is_dir()
        assert token_arrays.damage(copy / reading) is None
        other.kill()
    materialize(make_request(root, pretrain_length=40), copy)
    assert not (copy / building).exists()
    assert not (copy / reading).exists()


def test_second_process_waits_and_builds_nothing(made, root, copy):
    lines = []
    with ThreadPoolExecutor(1) as pool:
        with file_lock.builder_lock(copy):
            second = pool.submit(materialize, make_request(root), copy, lines.append)
            while not lines:
                time.sleep(0.01)
            assert not second.done()
        assert second.result()["tasks"] == made[1]["tasks"]
    assert lines == [f"waiting for the process that builds in {copy}"]
