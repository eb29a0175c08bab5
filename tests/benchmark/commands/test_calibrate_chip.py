"""Calibration: fits recover known figures; the small parts of the probes; tables of latencies."""

import csv
import dataclasses
import io
from pathlib import Path

import pytest
from scipy.stats import kendalltau

from benchmark.cli.gin_loader import load_run_config
from benchmark.commands import calibrate_chip, tabulate_latencies
from benchmark.config import ChipConfig, EncoderConfig, SearchConfig, SearchSpace
from benchmark.hardware import estimates
from benchmark.hardware.chips import read_chip, shipped
from benchmark.hardware.roofline import estimate, latency_floor
from benchmark.models.formulas import num_parameters
from benchmark.search.space import decode, enumerate_points
from tasks.system.errors import StageError
from tasks.system.repository import REPOSITORY

TABLE = REPOSITORY / "tests" / "data" / "tpu_v4_default_space.csv"
CHIP = ChipConfig(
    name="made_up",
    peak_flops=1e14,
    memory_bandwidth=5e11,
    on_chip_bytes=1e8,
    on_chip_bandwidth=7e11,
    op_overhead_s=2e-6,
    tile=128,
    bytes_per_value=2,
)
CONFIG = SearchConfig(space=SearchSpace(base=EncoderConfig()), chip=CHIP, latency_methods=("roofline",))


def test_drawn_architectures_are_of_the_space() -> None:
    encoders = calibrate_chip.draw_architectures(CONFIG, 30, seed=1)
    everything = [decode(CONFIG.space, point) for point in enumerate_points(CONFIG.space)]
    assert len(set(encoders)) == 30
    assert set(encoders) <= set(everything)
    assert (
        encoders
        == calibrate_chip.draw_architectures(CONFIG, 30, seed=1)
        != calibrate_chip.draw_architectures(CONFIG, 30, seed=2)
    )


def test_fit_gives_back_what_made_the_latencies() -> None:
    encoders = calibrate_chip.draw_architectures(CONFIG, 12, seed=0)
    known = [estimate(e, CHIP, 1, 128).latency_s for e in encoders]
    start = dataclasses.replace(CHIP, op_overhead_s=0.0, on_chip_bandwidth=1.0)
    found = calibrate_chip.fit(start, 1, 128, encoders, known, calibrate_chip.TPU_FIGURES)
    assert found.op_overhead_s == pytest.approx(CHIP.op_overhead_s, rel=0.01)
    assert found.on_chip_bandwidth == pytest.approx(CHIP.on_chip_bandwidth, rel=0.02)
    assert dataclasses.replace(found, op_overhead_s=0.0, on_chip_bandwidth=1.0) == start


def test_agreement_is_that_of_scipy() -> None:
    estimated, known = [1.0, 2.0, 3.0, 5.0], [2.0, 1.0, 3.0, 4.0]
    found = calibrate_chip.agreement(estimated, known)
    assert found["tau"] == pytest.approx(kendalltau(estimated, known).statistic)
    assert found["largest_error"] == pytest.approx(1.0)
    assert found["mean_error"] == pytest.approx((0.5 + 1.0 + 0.0 + 0.25) / 4)


def test_the_file_holds_the_whole_chip(tmp_path: Path) -> None:
    text = calibrate_chip.gin_file(CHIP, ["Found by", "  a command"])
    assert text.startswith("# Found by\n#   a command\nmade_up/ChipConfig.name = 'made_up'\n")
    (tmp_path / "x.gin").write_text(text)
    assert read_chip(tmp_path / "x.gin") == CHIP


def test_a_machine_becomes_the_chip_of_a_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted = {"tau": 0.9, "mean_error": 0.1}
    monkeypatch.setattr(calibrate_chip, "calibrate", lambda *_: (CHIP, ("op_overhead_s",), fitted))
    quickstart, file = str(REPOSITORY / "gin" / "quickstart.gin"), tmp_path / "my_laptop.gin"
    command = [f"--gin_file={quickstart}", "--name=my_laptop", f"--out={file}"]
    assert calibrate_chip.main(command) == 0
    shown = capsys.readouterr().out
    assert f"--gin_file={file} --gin.SearchConfig.chip='@my_laptop/ChipConfig()'" in shown
    assert "tau 0.900" in file.read_text()
    config = load_run_config([quickstart, str(file)], ["SearchConfig.chip=@my_laptop/ChipConfig()"])
    assert config.search is not None and config.search.chip == dataclasses.replace(CHIP, name="my_laptop")
    assert calibrate_chip.main([*command[:-1], f"--out={tmp_path}"]) == 2
    assert calibrate_chip.main([command[0], "--name=My laptop"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "expected a file, found a folder" in first and "--name=My laptop: expected a name" in second


def test_last_cache(tmp_path: Path) -> None:
    for index, size in enumerate(("32K", "1024K", "33M")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(size + "\n")
    assert calibrate_chip.last_cache(tmp_path) == 33 * 2**20
    assert calibrate_chip.last_cache(tmp_path / "nothing") == 0


def test_a_host_is_probed() -> None:
    encoder = EncoderConfig(
        vocab_size=50, embedding_size=8, hidden_size=8, num_hidden_layers=1, intra_bottleneck_size=8
    )
    calls = []
    assert calibrate_chip.best_seconds(lambda: calls.append(1), seconds=0.0) >= 0
    assert len(calls) == 10
    assert 0 < calibrate_chip.host_seconds(encoder, 1, 8) < 10


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate_chip.main(["--gin_file=no_such_file.gin"]) == 2
    assert tabulate_latencies.main(["--gin_file=no_such_file.gin", "--out=unused.csv"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all("no_such_file.gin" in line for line in lines)


@pytest.mark.parametrize("count", ["0", "1", "-3", "many", ""])
def test_a_fit_needs_architectures(capsys: pytest.CaptureFixture[str], count: str) -> None:
    assert calibrate_chip.main(["--gin_file=unread.gin", f"--architectures={count}"]) == 2
    error = capsys.readouterr().err
    assert error == f"error: --architectures: expected a whole number of at least 2, found {count!r}\n"


@pytest.mark.parametrize("out", [".", f"{__file__}/x.csv"])
def test_a_place_where_no_table_can_be_written_is_refused_before_the_work(
    capsys: pytest.CaptureFixture[str], out: str
) -> None:
    assert tabulate_latencies.main(["--gin_file=unread.gin", f"--out={out}"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"error: --out={out}: expected a f")


def test_a_table_holds_every_architecture() -> None:
    encoders = calibrate_chip.draw_architectures(CONFIG, 20, seed=0)
    told: list[str] = []
    rows = list(csv.DictReader(io.StringIO(tabulate_latencies.table(CONFIG, encoders, None, told.append))))
    assert told[-1] == "20 of 20 architectures"
    for row, encoder in zip(rows, encoders, strict=True):
        assert [int(row[name]) for name in CONFIG.space.FIELDS] == [getattr(encoder, n) for n in CONFIG.space.FIELDS]
        assert float(row["latency_s"]) == pytest.approx(estimate(encoder, CHIP, 1, 128).latency_s)
        assert (row["method"], row["cycles"]) == ("roofline", "")


def test_the_shipped_table_is_of_the_default_space_and_the_roofline_ranks_it() -> None:
    rows = list(csv.DictReader(TABLE.open(encoding="utf-8", newline="")))
    space, chip = SearchSpace(base=EncoderConfig()), shipped()["tpu_v4i"]
    encoders = [decode(space, {name: int(row[name]) for name in space.FIELDS}) for row in rows]
    assert len(set(encoders)) == len(rows) >= 30
    assert {row["method"] for row in rows} == {"compiled"}
    for row, encoder in zip(rows, encoders, strict=True):
        assert int(row["parameters"]) == num_parameters(encoder)
        cycles = int(row["cycles"]) + int(row["waiting_cycles"])
        assert float(row["latency_s"]) == pytest.approx(cycles / chip.clock_hz)
        assert float(row["latency_s"]) > latency_floor(encoder, chip, 1, 128)
    found = calibrate_chip.agreement(
        [estimate(encoder, chip, 1, 128).latency_s for encoder in encoders], [float(row["latency_s"]) for row in rows]
    )
    # docs/hardware.md has the accuracy; this only checks that it does not get worse.
    assert found["tau"] > 0.83
    assert found["mean_error"] < 0.05


def test_a_table_with_a_hole_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = estimates.LatencyFailure("compiling took more than 1 s")
    monkeypatch.setattr(estimates.KnownLatency, "exact", lambda self, encoders: [failure] * len(encoders))
    with pytest.raises(StageError, match=r"hidden_size=\d+, .*: compiling took more than 1 s"):
        tabulate_latencies.table(CONFIG, calibrate_chip.draw_architectures(CONFIG, 1, seed=0), None, lambda line: None)


def test_a_calibration_that_orders_badly_or_was_disturbed_says_so() -> None:
    good = {"tau": 0.95, "mean_error": 0.05, "largest_error": 0.1}
    assert list(calibrate_chip.doubts(good, 0.1)) == list(calibrate_chip.doubts(good, None)) == []
    (line,) = calibrate_chip.doubts({**good, "tau": 0.067}, None)
    assert "tau 0.07, expected at least 0.8" in line
    assert len(list(calibrate_chip.doubts({**good, "tau": float("nan")}, 1.5))) == 2
