"""What command lines refuse before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from baselines.__main__ import main as baselines
from benchmark.commands import calibrate_chip, evaluate, measure_latency, tabulate_latencies
from leaderboard.__main__ import main as leaderboard
from run_benchmark import main as run_benchmark


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (run_benchmark, ["--gin_file=gin/quickstart.gin", "--workdir={}"]),
        (evaluate.main, [".", "--workdir={}"]),
        (measure_latency.main, ["--gin_file=gin/quickstart.gin", "--out={}"]),
        (measure_latency.main, ["--gin_file=gin/quickstart.gin", "--keep={}"]),
        (tabulate_latencies.main, ["--out={}"]),
        (calibrate_chip.main, ["--cache={}"]),
        (baselines, ["import", "bert_base", "--checkpoint=x", "--to={}"]),
        (baselines, ["export", "x.json", "--to={}"]),
        (baselines, ["measure", "--to={}"]),
        (leaderboard, ["build", "--results=x", "--out={}"]),
    ],
)
@pytest.mark.parametrize("address", ["gs://bucket/run", "s3://bucket", "file:///tmp/run"])
def test_an_address_in_place_of_a_folder_is_refused_with_the_way_out(
    main: object, words: list[str], address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: object
) -> None:
    monkeypatch.chdir(tmp_path)
    flag = words[-1].partition("=")[0]
    assert main([word.format(address) for word in words]) == 2  # type: ignore[operator]
    error = capsys.readouterr().err  # type: ignore[attr-defined]
    assert error.count("\n") == 1
    assert error.startswith(f"error: {flag}: expected a path, found the address {address!r}; mount it (gcsfuse, s3fs,")
    assert list(tmp_path.iterdir()) == []


def test_a_colon_in_a_path_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parser = evaluate.make_parser()
    for path in ("a:b/c", "1:/x", "./gs://bucket"):
        assert parser.parse_args([".", f"--workdir={path}"]).workdir == Path(path)
