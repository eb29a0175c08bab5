"""Digests of a run by stage and step, and the first difference of two runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from benchmark.commands.digests import Computed, first_difference, main, run_digests
from benchmark.training.hooks import Event, write_digests
from benchmark.training.state import TrainState
from benchmark.training.tree_digest import tree_digest
from tests.benchmark.records.test_record import example


def test_the_digest_of_a_tree() -> None:
    tree: dict[str, Any] = {"a": {"b": np.arange(6, dtype=np.float32).reshape(2, 3)}, "c": np.ones(2)}
    on_device = {"a": {"b": jnp.arange(6, dtype=jnp.float32).reshape(2, 3)}, "c": np.ones(2)}
    assert tree_digest(tree) == tree_digest(on_device) == tree_digest(dict(reversed(tree.items())))
    # Not a name, a shape, a type or a bit may change; memory order does not matter.
    one_bit = np.nextafter(tree["a"]["b"], np.float32(9))
    for other in (
        {"a": {"x": tree["a"]["b"]}, "c": tree["c"]},
        {"a": {"b": tree["a"]["b"].reshape(3, 2)}, "c": tree["c"]},
        {"a": {"b": tree["a"]["b"].astype(np.float64)}, "c": tree["c"]},
        {"a": {"b": one_bit}, "c": tree["c"]},
    ):
        assert tree_digest(other) != tree_digest(tree)
    assert tree_digest({"a": {"b": np.asfortranarray(tree["a"]["b"])}, "c": tree["c"]}) == tree_digest(tree)


def event(kind: Any, step: int, value: float = 0.0) -> Event:
    return Event(kind, "fit", step, 9, 0, 1.0, state=TrainState({"w": np.full(2, value)}, None))


def test_steps_that_are_done_again_stand_once(tmp_path: Path) -> None:
    path = tmp_path / "fit" / "digests.jsonl"
    hook = write_digests(path)
    hook(event("begin", 0))
    for step in (1, 2, 3):
        hook(event("log", step, step))
    # Continued from a checkpoint of step 2, on another arithmetic from there on.
    again = write_digests(path)
    again(event("begin", 2))
    again(event("log", 3, 3.5))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[2]["parameters_sha256"] == tree_digest({"w": np.full(2, 3.5)})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Writes the files of the stages of a small run."""
    folder = tmp_path / "run"

    def write(name: str, value: Any) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value) if not isinstance(value, str) else value)

    files = {"glue/dev.tsv": {"sha256": "1" * 64, "bytes": 3}}
    write("data/data.json", {"source_files": files, "vocabulary": {"digest": "2" * 64}})
    write("data/rows/meta.json", {"files": {"ids.npy": {"sha256": "3" * 64}}})
    stage = {"result": {"parameters_sha256": "4" * 64, "masked_lm": {"accuracy": 1.0}}, "seconds": 3.0}
    write("teacher/stage.json", stage)
    write("teacher/digests.jsonl", '{"step": 1, "parameters_sha256": "a"}\n{"step": 2, "parameters_sha256": "b"}\n')
    result = {"accuracy": 2.0, "seconds": 1.0, "compile_seconds": 0.5}
    write("search/journal.jsonl", json.dumps({"event": "completed", "trial": 0, "result": result}) + "\n")
    write("students/small/stage.json", stage)
    write("evaluation/small/glue_sst2_v1/seed0.json", {"result": {"predictions": [1, 0]}, "seconds": 2.0})
    write("results/small.json", example())
    write("results/small.verification.json", {})
    return folder


def test_a_run_is_listed_in_the_order_of_its_stages(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = list(run_digests(run))
    names = [(one.stage, one.name) for one in found]
    assert names == [
        ("data", "file glue/dev.tsv"),
        ("data", "vocabulary"),
        ("data", "arrays rows/ids.npy"),
        ("teacher", "teacher step 1"),
        ("teacher", "teacher step 2"),
        ("teacher", "teacher parameters"),
        ("teacher", "teacher masked LM"),
        ("search", "trial 0 completed"),
        ("distill", "small parameters"),
        ("distill", "small masked LM"),
        ("finetune", "small glue_sst2_v1 seed0"),
        ("record", "small"),
    ]
    assert main([str(run)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(found)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("teacher/digests.jsonl", '"b"', '"c"', "teacher: teacher step 2: b and c; 4 before it are equal"),
        ("data/data.json", "1" * 64, "9" * 64, "data: file glue/dev.tsv"),
        ("search/journal.jsonl", '"accuracy": 2.0', '"accuracy": 2.1', "search: trial 0 completed"),
        ("evaluation/small/glue_sst2_v1/seed0.json", "[1, 0]", "[1, 1]", "finetune: small glue_sst2_v1 seed0"),
        ("results/small.json", '"parameters": 1000', '"parameters": 1001', "record: small"),
    ],
)
def test_the_first_difference_is_named(
    run: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, words: str
) -> None:
    other = run.with_name("other")
    shutil.copytree(run, other)
    # Times do not count.
    change(other / "search" / "journal.jsonl", '"seconds": 1.0', '"seconds": 7.0')
    change(other / "results" / "small.json", '"teacher_s": 1.5', '"teacher_s": 9.5')
    assert main([str(run), str(other)]) == 0
    assert capsys.readouterr().out == "equal: 12 digests\n"
    change(other / file, old, new)
    assert main([str(run), str(other)]) == 1
    assert words in capsys.readouterr().out


def test_a_stage_that_one_run_lacks() -> None:
    one = [Computed("data", "vocabulary", "1"), Computed("teacher", "teacher parameters", "2")]
    assert first_difference(one, one) is None
    assert (
        first_difference(one, one[:1]) == "teacher: teacher parameters: in the first run alone; 1 before it are equal"
    )
    found = first_difference(one[1:], one)
    assert found is not None and "teacher: teacher parameters in the first run, data: vocabulary in the second" in found


@pytest.mark.parametrize("content", ["{", "[]", "{}", '"x"', "{}\n{"])
@pytest.mark.parametrize(
    "file",
    [
        "data/data.json",
        "teacher/stage.json",
        "teacher/digests.jsonl",
        "search/journal.jsonl",
        "evaluation/small/glue_sst2_v1/seed0.json",
        "results/small.json",
    ],
)
def test_a_damaged_file_is_named(run: Path, capsys: pytest.CaptureFixture[str], file: str, content: str) -> None:
    (run / file).write_text(content)
    assert main([str(run)]) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith(f"error: {run / file}") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "required: DIR"),
        (["a", "b", "c"], "DIR: expected one folder or two, found 3"),
        (["a", "--al"], "unknown argument '--al'; did you mean '--help'?; accepted: -h, --help"),
        ([""], "DIR: expected a path, found ''"),
        (["x" * 300], "File name too long"),
    ],
)
def test_a_mistaken_command_line_gets_one_line(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(words) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("error: ") and error.count("\n") == 1
    assert said in error


def test_a_folder_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "expected the folder of a run" in capsys.readouterr().err
