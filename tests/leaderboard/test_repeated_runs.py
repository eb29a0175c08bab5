"""Repeated runs of a track: what is collected, and what they say of its noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.config import fingerprint
from benchmark.records.record import Record, RecordError
from benchmark.records.task_score import MetricScore
from benchmark.records.track_settings import TrackSettings
from leaderboard import repeated_runs, run_noise
from leaderboard.__main__ import main
from leaderboard.board import board_data
from leaderboard.estimates import estimates
from leaderboard.load import load_records
from leaderboard.repeated_runs import RepeatedRuns, collect
from tasks.system.repository import REPOSITORY
from tests.helpers.board_records import make_record, make_task

SST2, RTE = "glue_sst2_v1", "glue_rte_v1"
SST2_KEY = f"{SST2}.validation.accuracy"
KINDS = {"teacher": "teacher", "a": "baseline", "b": "baseline", "untrained": "control"}
CENTRES = {"teacher": 92.0, "a": 85.0, "b": 80.0, "untrained": 60.0}
# Standard deviations in points near 80 %, between whole runs and between fine-tuning seeds.
RUN, FINETUNE = 2.0, 1.0


def settings(value: int = 0) -> dict[str, TrackSettings]:
    parts = ("task_rows", "finetuning", "latency", "numerics")
    return {part: TrackSettings.of({"x": value}) for part in parts}


def record(name: str, run: int, scores: dict[str, list[float]], *, track: str = "small", value: int = 0) -> Record:
    """One record of one run; the scores of each task are those of its fine-tuning seeds."""
    tasks = []
    for task, values in scores.items():
        middle = float(np.median(values))
        metric = MetricScore(value=middle, per_seed=values, interval=(middle - 2.0, middle + 2.0))
        seeds = list(range(len(values)))
        tasks.append(make_task(middle, task, metrics={"accuracy": metric}, seeds=seeds, num_examples=1000))
    made = make_record(f"{name}-{run}", *tasks, kind=KINDS.get(name, "found"), track=track, accuracy=40.0 + run % 3)
    assert made.provenance is not None
    changes = {"config_fingerprint": fingerprint("run", run), "track_settings": settings(value)}
    provenance = made.provenance.model_copy(update=changes)
    return made.model_copy(update={"provenance": provenance, "system": made.system.model_copy(update={"name": name})})


def simulated(count: int, seeds: int = 1, draw: int = 0) -> list[list[Record]]:
    """Whole runs with known noise on the scale of angles, as proportions have it."""
    rng, runs = np.random.default_rng(draw), []
    slope = 0.01 / (2 * np.sqrt(0.8 * 0.2))
    for run in range(count):
        records = []
        for name, centre in CENTRES.items():
            scores = {}
            for task in (SST2, RTE):
                angle = np.arcsin(np.sqrt(centre / 100)) + slope * RUN * rng.standard_normal()
                angles = angle + slope * FINETUNE * rng.standard_normal(seeds)
                scores[task] = [float(100 * np.sin(one) ** 2) for one in angles]
            records.append(record(name, run, scores))
        runs.append(records)
    return runs


def test_what_is_collected_can_be_read_again(tmp_path: Path) -> None:
    runs = simulated(3, seeds=2)
    found = collect([[*records, record("found-1", number, {SST2: [70.0]})] for number, records in enumerate(runs)])
    repeated_runs.write(tmp_path / "small-0.1.json", found)
    assert repeated_runs.read(tmp_path / "small-0.1.json") == found == collect(runs[::-1])
    assert all(set(run.systems) == set(KINDS) for run in found.runs)
    one = found.runs[0].systems["a"]
    assert one.kind == "baseline" and [task.task for task in one.tasks] == [SST2, RTE]
    # A board of other settings, or of another track, does not use them; latency makes no difference to a score.
    of_track = repeated_runs.of_track
    assert of_track(runs[0], tmp_path) == found
    assert of_track([record("a", 9, {SST2: [1.0]}, value=1)], tmp_path) is None
    assert of_track([record("a", 9, {SST2: [1.0]}, track="other")], tmp_path) is None
    assert of_track([], tmp_path) is None


def test_runs_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    one, two = simulated(2)
    with pytest.raises(RecordError, match="1 runs: expected at least 2"):
        collect([one])
    with pytest.raises(RecordError, match="a-1: finetuning: other settings than those of teacher-0"):
        collect([one, [record("a", 1, {SST2: [1.0]}, value=1)]])
    with pytest.raises(RecordError, match="track = 'other': expected 'small'"):
        collect([one, [record("a", 1, {SST2: [1.0]}, track="other")]])
    with pytest.raises(RecordError, match="expected the records of one run"):
        collect([one, [*two, record("b", 7, {SST2: [1.0]})]])
    with pytest.raises(ValueError, match="runs has one run twice"):
        collect([one, one])
    (tmp_path / "bad.json").write_text('{"schema_version": 2}')
    with pytest.raises(RecordError, match="bad.json: "):
        repeated_runs.read(tmp_path / "bad.json")


def test_the_noise_is_that_of_the_simulation() -> None:
    found = {one.key: one for one in run_noise.noise(collect(simulated(200, seeds=2)))}
    assert list(found) == ["mean", "masked_lm_accuracy", f"{RTE}.validation.accuracy", SST2_KEY]
    one = found[SST2_KEY]
    # Of the systems a and b, whose scores are near 80 %.
    assert one.finetune == pytest.approx(FINETUNE, rel=0.1) and one.run == pytest.approx(RUN, rel=0.1)
    assert one.examples == pytest.approx(2.0 / 1.96, rel=0.01)
    error = np.sqrt(2 * (FINETUNE**2 + RUN**2 + (2.0 / 1.96) ** 2))
    assert one.resolution == pytest.approx((1.96 + 0.84) * error, rel=0.1)


def test_intervals_of_other_runs_hold() -> None:
    inside = count = 0
    for draw in range(3):
        for held, of in run_noise.coverage(collect(simulated(12, draw=draw))).values():
            inside, count = inside + held, count + of
    assert count > 5000 and 0.93 < inside / count < 0.97
    assert all(of == 0 for _, of in run_noise.coverage(collect(simulated(3))).values())


def test_a_board_with_repeated_runs_knows_the_noise_of_a_single_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    one, *others = simulated(12)
    alone, whole = estimates(one), estimates(one, collect(others))
    for name in ("a-0", "b-0"):
        before, after = alone[name][SST2_KEY], whole[name][SST2_KEY]
        assert before.run is None and after.run is not None
        half = (after.run[1] - after.run[0]) / 2
        assert half == pytest.approx(1.96 * np.sqrt(2 * (RUN**2 + FINETUNE**2)), rel=0.4)
        assert after.interval is not None and before.interval is not None
        assert after.interval[1] - after.interval[0] > before.interval[1] - before.interval[0]
    data = board_data(one, "t", None)
    assert data["repeated_runs"] == 0 and data["resolutions"][SST2_KEY] < 5.0
    published = collect(others)
    monkeypatch.setattr(repeated_runs, "of_track", lambda _: published)
    data = board_data(one, "t", None)
    assert data["repeated_runs"] == 11 and data["resolutions"][SST2_KEY] > 8.0
    # Before there is anything to compare, a column says what it will resolve.
    only = board_data([record("a", 0, {SST2: [80.0], RTE: [80.0]})], "t", None)
    assert only["resolutions"][SST2_KEY] == pytest.approx(data["resolutions"][SST2_KEY], rel=0.3)


def test_several_distillations_narrow_what_is_theirs() -> None:
    published: RepeatedRuns = collect(simulated(12)[1:])

    def distilled(values: list[float]) -> Record:
        made = record("a", 0, {SST2: values})
        task = made.tasks[0].model_copy(update={"seeds": [0] * len(values), "distill_seeds": list(range(len(values)))})
        return made.model_copy(update={"tasks": [task]})

    once, thrice = (estimates([distilled(v)], published)["a-0"][SST2_KEY] for v in ([80.0], [78.5, 80.0, 81.5]))
    assert once.run is not None and thrice.run is not None
    assert thrice.run[1] - thrice.run[0] < once.run[1] - once.run[0]
    # The teacher is the same for all three: where they agree, the noise is its own, and stays.
    agreeing = estimates([distilled([79.9, 80.0, 80.1])], published)["a-0"][SST2_KEY]
    assert agreeing.entry.seeds.value > 1.2 * thrice.entry.seeds.value


def test_the_command_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmark.records.record import write

    for number, records in enumerate(simulated(4)):
        for one in records:
            write(tmp_path / f"run{number}" / "results" / f"{one.system.name}.json", one)
    folders = [str(tmp_path / f"run{number}") for number in range(4)]
    assert main(["noise", "--results", *folders, "--out", str(tmp_path / "small-0.1.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "small 0.1: 4 runs under other seeds" and lines[-2].startswith("all ")
    assert lines[-1].startswith("two runs of one system are called different in ")
    assert repeated_runs.read(tmp_path / "small-0.1.json").track == "small"
    assert main(["noise", "--track=nowhere"]) == 2
    assert "nowhere.json: cannot be read" in capsys.readouterr().err


# The published runs of the track `micro`.


def test_the_quickstart_counts_in_the_published_runs() -> None:
    records = load_records(REPOSITORY / "tests" / "data" / "quickstart")
    assert repeated_runs.of_track(records) is not None
    data = board_data(records, "t", None)
    assert data["repeated_runs"] >= 6
    for row in data["rows"]:
        for score in row["scores"].values():
            assert all(isinstance(number, float) for number in score)
        # The range of another run is wider than that of other examples.
        value, low, high, run_low, run_high = row["scores"]["mean"]
        assert run_high - run_low > high - low > 0 and run_low < value < run_high


def test_published_runs_fall_into_the_intervals_of_each_other() -> None:
    held = run_noise.coverage(repeated_runs.read(repeated_runs.FOLDER / "micro-0.1.json"))
    inside, count = (sum(numbers) for numbers in zip(*held.values(), strict=True))
    assert count >= 300 and 0.93 <= inside / count <= 0.97


def test_runs_of_one_system_are_seldom_called_different() -> None:
    """Each pair of runs of a system as two systems of a board, whose noise is known from the other runs."""
    found = run_noise.false_differences(repeated_runs.read(repeated_runs.FOLDER / "micro-0.1.json"))
    different, count = (sum(numbers) for numbers in zip(*found.values(), strict=True))
    # Few runs say little of a rate of 5 %: a hundred independent pairs have an error of 2 points.
    assert count >= 400 and different / count <= 0.07
