"""The command line of measuring: quick help, one line for bad input, and one measurement of a tiny track."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.cli.gin_loader import load_run_config
from benchmark.commands.measure_latency import estimates, main
from benchmark.records.record import LatencyBlock
from tasks.system.repository import REPOSITORY

GIN = f"--gin_file={REPOSITORY / 'tests' / 'e2e' / 'tiny.gin'}"


def test_help_needs_nothing_heavy() -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv[1:] = ['--help']\n"
        "try: runpy.run_module('benchmark.commands.measure_latency', run_name='__main__')\n"
        "except SystemExit as end: print('exit', end.code)\n"
        "print([name for name in ('jax', 'flax', 'gin', 'scipy', 'tokenizers') if name in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("usage: python -m benchmark.commands.measure_latency --gin_file=FILE")
    assert result.stdout.splitlines()[-2:] == ["exit 0", "[]"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--gin_file: expected at least one gin file"),
        ([GIN, "--sytem=plain"], "unknown argument '--sytem=plain'; did you mean '--system'?"),
        ([GIN, "--system=plane"], "--system=plane: did you mean plain?"),
        ([GIN, "--text=a", "--workdir=b"], "--text and --workdir: expected one of them"),
        ([GIN, "--out="], "--out: expected a path, found ''"),
        ([GIN, "--workdir="], "--workdir: expected a path, found ''"),
        ([GIN, "--out=."], "--out=.: expected a file, found a folder"),
        ([GIN, f"--out={__file__}/x"], f"--out={__file__}/x: expected a folder, but {__file__} is a file"),
        ([GIN, f"--keep={__file__}"], f"--keep={__file__}: expected a folder"),
        ([GIN, f"--workdir={__file__}"], f"{__file__}/data/data.json: no data to measure with"),
        ([GIN, "--text=."], ".: cannot be read"),
        ([GIN, "--text=/dev/null"], "/dev/null: expected at least one line of text"),
        ([GIN, f"--workdir={'x' * 300}"], "File name too long"),
        ([GIN, "--vocabulary=a"], "--vocabulary: expected together with --text"),
        ([GIN, "--gin.LatencyConfig.runtimes=('tflite',)"], "('tflite',): expected"),
        ([GIN, "--gin.LatencyConfig.batch_sizes=()"], "LatencyConfig.batch_sizes = (): expected distinct values"),
        ([GIN, "--gin.LatencyConfig.batch_sizes=(0,)"], "LatencyConfig.batch_sizes = (0,): expected"),
        ([GIN, "--gin.LatencyConfig.sequence_lengths=(65,)"], "expected at most max_position_embeddings = 64"),
        ([GIN, "--gin.LatencyConfig.min_seconds=9"], "expected at least min_seconds = 9"),
        (["--gin_file=missing.gin"], "no such file"),
    ],
)
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(words) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("error: ") and error.count("\n") == 1
    assert said in error


@pytest.mark.parametrize("flag", ["--workdir", "--text"])
def test_inputs_that_are_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path, flag: str) -> None:
    assert main([GIN, f"{flag}={tmp_path / 'missing'}"]) == 2
    _, error = capsys.readouterr()
    assert error.startswith(f"error: {tmp_path / 'missing'}") and error.count("\n") == 1


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"result": {"found": {"a": {"layers": 1}}}}'])
def test_a_damaged_marker_of_the_search(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str) -> None:
    marker = tmp_path / "search" / "stage.json"
    marker.parent.mkdir()
    marker.write_text(content)
    assert main([GIN, f"--workdir={tmp_path}", "--system=nope"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {marker}: damaged") and error.count("\n") == 1


def test_a_measurement_of_one_architecture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"the {n} cats sat on {n} mats\n" for n in range(40)))
    words = [GIN, f"--text={text}", f"--out={tmp_path / 'out' / 'blocks.json'}", f"--keep={tmp_path / 'kept'}"]
    once = [f"--gin.LatencyConfig.{name}=1" for name in ("processes", "max_processes", "headline_factor")]
    assert main([*words, *once, "--system=plain"]) == 0
    out, error = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "plain against reference, 1 process (the protocol asks for 5), times in ms"
    assert lines[1].split()[:4] == ["runtime", "batch", "length", "median"]
    assert [line.split()[:3] for line in lines[2:4]] == [["xla", "1", "32"], ["xla", "2", "32"]]
    assert lines[4].startswith("roofline, cpu_2core, batch 1, length 32: ")
    assert "latency: xla, process 1/1 in " in error
    blocks = [
        LatencyBlock(**{**block, "speedup_interval": tuple(block["speedup_interval"])})
        for block in json.loads((tmp_path / "out" / "blocks.json").read_text())
    ]
    assert [(block.batch_size, block.method) for block in blocks] == [(1, "measured"), (2, "measured")]
    assert (tmp_path / "kept" / "xla-0.json").is_file()


def test_no_estimate_stands_beside_a_search_that_measures() -> None:
    roofline, measured = (
        load_run_config([str(REPOSITORY / "gin" / name)]) for name in ("quickstart.gin", "laptop.gin")
    )
    encoder = roofline.baselines[0].architecture
    (line,) = estimates(roofline, encoder)
    assert line.startswith("roofline, cpu_2core, batch 1, length 96: ")
    assert list(estimates(measured, encoder)) == []
