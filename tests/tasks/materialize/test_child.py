"""The data stage in a child process: progress, errors, a kill, and nothing to do."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tasks.arrays import token_arrays
from tasks.materialize import start_child
from tasks.materialize.steps import materialize, run_in_child
from tasks.system.errors import DataError, StageError, run_command
from tasks.system.repository import REPOSITORY
from tests.tasks.materialize.official import make_request


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


def test_child_relays_progress_and_keeps_tensorflow_away(root, tmp_path):
    code = (
        "import sys, json, pathlib\n"
        "from tasks.materialize.steps import MaterializeRequest, run_in_child\n"
        "request = MaterializeRequest.from_dict(json.loads(sys.argv[1]))\n"
        "lines = []\n"
        "data = run_in_child(request, pathlib.Path(sys.argv[2]), lines.append)\n"
        "assert not {'tensorflow', 'seqio', 'jax'} & set(sys.modules)\n"
        "assert any(line.startswith('glue_sst2_v1: train 20 rows') for line in lines), lines\n"
        "print(json.dumps(data['tasks']))"
    )
    request = make_request(root, tasks=("glue_sst2_v1",))
    arguments = [json.dumps(dataclasses.asdict(request)), str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["glue_sst2_v1"]) == {"train", "validation", "test"}
    assert done.stderr == ""


def test_child_runs_in_any_folder_and_without_a_home(root, tmp_path, monkeypatch):
    """A `tasks.py` and a package `benchmark` there are not taken for ours, and no folder `~` is left behind."""
    here = tmp_path / "here"
    (here / "benchmark").mkdir(parents=True)
    for name in ("tasks.py", "benchmark/__init__.py"):
        (here / name).write_text("raise RuntimeError('another module')\n")
    monkeypatch.chdir(here)
    # What `~` is for a user whom the system does not know.
    monkeypatch.setenv("HOME", "~")
    data = run_in_child(make_request(root, tasks=("glue_sst2_v1",)), tmp_path / "output")
    assert set(data["tasks"]["glue_sst2_v1"]) == {"train", "validation", "test"}
    assert sorted(path.name for path in here.iterdir()) == ["benchmark", "tasks.py"]


def test_the_first_of_two_failing_imports_is_named(tmp_path):
    """A package that raises in the middle is there in part afterwards, and fails for another reason then."""
    package = tmp_path / "seqio"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('the true cause')\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tasks.materialize import child, steps\n"
        "def materialize(*_):\n"
        "    import time; time.sleep(0.5)\n"
        "    while 'tasks.seqio_tasks.registry' in sys.modules: time.sleep(0.1)\n"
        "    raise ImportError('cannot import name')\n"
        "steps.materialize = materialize\n"
        "child.main()\n"
    )
    request = dataclasses.asdict(make_request(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        input=json.dumps({"request": request, "output": str(tmp_path)}),
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "RuntimeError: the true cause"


def test_childs_error_is_the_parents(root, tmp_path):
    (tmp_path / "data" / "pretrain").mkdir(parents=True)
    (tmp_path / "data" / "pretrain" / "a.txt").write_bytes(b"caf\xe9")
    request = make_request(tmp_path / "data", pretrain_corpora=("pretrain/a.txt",), pretrain_rates=(1.0,))
    with pytest.raises(DataError, match="a.txt: line 1: byte 0xe9 at position 3 is not UTF-8"):
        run_in_child(request, tmp_path / "output")
    assert not (tmp_path / "output" / "data.json").exists()


def test_childs_trouble_with_the_disk_is_one_line_and_no_mistake_of_the_input(root, tmp_path, capsys):
    """As in the parent, where the same error ends the command with 1 and not with 2."""
    (tmp_path / "output").write_text("a file where the folder should be")

    def work():
        start_child.run(make_request(root), tmp_path / "output", lambda line: None)
        return 0

    with pytest.raises(StageError, match=r"output: File exists$"):
        work()
    assert run_command(work) == 1
    assert run_command(lambda: (run_in_child(make_request(root), tmp_path / "output"), 0)[1]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == second == f"error: {tmp_path / 'output'}: File exists"


def test_killed_run_is_finished_by_the_next(made, root, tmp_path):
    """Killed as soon as the first array directory is there: the rest is intact, and the next call completes it."""
    code = "from tasks.materialize.child import main; main()"
    message = json.dumps({"request": dataclasses.asdict(make_request(root)), "output": str(tmp_path)})
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=REPOSITORY,
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
            assert token_arrays.damage(directory) is None
    _, data, _ = made
    assert materialize(make_request(root), tmp_path)["tasks"] == data["tasks"]
    assert not list(tmp_path.glob(".building-*"))
