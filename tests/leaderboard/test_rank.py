"""Places, fronts and comparable conditions of the leaderboard."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.records.record import Record, RecordError
from benchmark.records.task_definition import TaskFile
from benchmark.records.task_score import TaskScore
from benchmark.statistics.pairs import LEVEL, Entry, compare
from benchmark.statistics.variance import UNKNOWN, Variance
from leaderboard import rank
from leaderboard.board import board_data
from leaderboard.distributions import distribution
from leaderboard.estimates import Estimate, TaskKey, common_tasks
from leaderboard.rank import LatencyGroup
from leaderboard.titles import task_label
from tests.helpers.board_records import make_block, make_record, make_task
from tests.helpers.own_tasks import STARS, own_definition

_NUMBERS = st.sampled_from([0.0, 1.0, 1.5, 2.0, 7.0]) | st.floats(-100, 100)
_POINTS = st.dictionaries(st.text("abcdef", min_size=1), st.tuples(st.none() | _NUMBERS, st.none() | _NUMBERS))


def _dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@given(_POINTS, st.randoms())
def test_the_front_is_exactly_what_nothing_dominates(points: dict[str, Any], generator: Any) -> None:
    front = rank.pareto_front(points)
    known = {name: point for name, point in points.items() if None not in point}
    expected = {name for name, point in known.items() if not any(_dominates(o, point) for o in known.values())}
    assert set(front) == expected and len(front) == len(expected)
    assert [points[name][0] for name in front] == sorted(points[name][0] for name in front)
    shuffled = list(points)
    generator.shuffle(shuffled)
    assert rank.pareto_front({name: points[name] for name in shuffled}) == front


_ESTIMATES = st.builds(
    lambda value, examples: Estimate(value, entry=Entry(value, examples=examples)),
    st.floats(0, 100),
    st.just(UNKNOWN) | st.floats(0, 400).map(lambda variance: Variance(variance, 99.0)),
)


@given(st.dictionaries(st.text("abcdef", min_size=1), _ESTIMATES))
def test_a_rank_counts_the_systems_that_are_better(scores: dict[str, Estimate]) -> None:
    places = rank.tie_places(scores)
    assert set(places) == set(scores)
    order = sorted(scores, key=lambda name: (-scores[name].entry.mean, name))
    ranks = [places[name].rank for name in order]
    assert ranks == sorted(ranks)
    adjusted = compare([scores[name].entry for name in order]).adjusted
    for position, name in enumerate(order):
        better = int((adjusted[:position, position] < LEVEL).sum())
        assert 1 + better <= places[name].rank <= position + 1
        assert places[name].rank == max([1 + better, *ranks[:position]])
        assert places[name].tied == (ranks.count(places[name].rank) > 1)


def test_places_by_hand() -> None:
    def estimate(value: float, error: float) -> Estimate:
        return Estimate(value, entry=Entry(value, examples=Variance(error**2, math.inf)))

    scores = {"a": estimate(80, 1), "b": estimate(77, 1), "c": estimate(74, 1), "d": estimate(60, 1)}
    # 3 points are 2.1 standard errors, too few for one of six pairs; 6 points are 4.2.
    assert {name: (p.rank, p.tied) for name, p in rank.tie_places(scores).items()} == {
        "a": (1, True),
        "b": (1, True),
        "c": (2, False),
        "d": (4, False),
    }
    # A noisy system shares the first rank, and changes no other; one of which nothing is known neither.
    for noisy in (estimate(95, 40), Estimate(95, entry=Entry(95))):
        places = rank.tie_places({**scores, "noisy": noisy})
        assert [places[name].rank for name in ("noisy", "a", "b", "c", "d")] == [1, 1, 1, 2, 4]
    # Nor does noise help: it is not ranked before a better one.
    places = rank.tie_places({**scores, "noisy": estimate(70, 40)})
    assert [places[name].rank for name in ("c", "noisy", "d")] == [2, 2, 4]


def test_scores_of_other_splits_and_latencies_of_other_conditions_are_never_mixed() -> None:
    board = [
        make_record("a", make_task(70), latency=(make_block(1e-3),)),
        make_record("b", make_task(60, split="test"), latency=(make_block(5e-4, dtype="bfloat16"),)),
        make_record("c", make_task(65), latency=(make_block(5e-4, batch_size=8), make_block(2e-3))),
    ]
    assert common_tasks(board) == []
    data = board_data(board, "t", None)
    assert len({q["label"] for q in data["qualities"]}) == len(data["qualities"]), "labels tell the splits apart"
    key = TaskKey("glue_sst2_v1", "validation", "accuracy").key
    first = data["groups"][0]["key"]
    assert first == LatencyGroup.from_block(make_block()).key, "the group with most systems comes first"
    assert data["fronts"][first]["latency"][key] == ["a"]
    other = LatencyGroup.from_block(make_block(batch_size=8)).key
    assert data["fronts"][other]["latency"][key] == ["c"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("runtime", "onnxruntime"), ("threads", 4), ("protocol_version", 2), ("chip", "other"), ("method", "compiled")],
)
def test_measurements_of_other_ways_are_never_put_side_by_side(field: str, value: Any) -> None:
    usual: dict[str, Any] = {"runtime": "xla", "threads": 2, "protocol_version": 3}
    board = [
        make_record("a", make_task(70), latency=(make_block(**usual),)),
        make_record("b", make_task(60), latency=(make_block(1e-3, **{**usual, field: value}),)),
    ]
    data = board_data(board, "t", None)
    assert len(data["groups"]) == 2 and len({group["key"] for group in data["groups"]}) == 2
    assert sorted(data["fronts"][group["key"]]["latency"]["mean"] for group in data["groups"]) == [["a"], ["b"]]


def test_speedups_over_another_reference_are_not_compared() -> None:
    def system(name: str, reference: str, speedup: float) -> Record:
        return make_record(name, make_task(70), latency=(make_block(reference=reference, speedup=speedup),))

    board = [system("a", "bert", 2.0), system("b", "bert", 1.0), system("c", "other", 9.0)]
    data = board_data(board, "t", None)
    assert data["groups"][0]["reference"] == "bert"
    assert data["fronts"][data["groups"][0]["key"]]["speedup"]["mean"] == ["a"]
    assert [next(iter(row["latency"].values()))["comparable_speedup"] for row in data["rows"]] == [True, True, False]


def test_systems_of_several_runs_are_told_apart() -> None:
    def system(name: str, title: str, run: str, method: str = "measured") -> Record:
        record = make_record(name, make_task(70), latency=(make_block(method=method),), title=title)
        assert record.provenance
        provenance = record.provenance.model_copy(update={"config_fingerprint": run})
        return record.model_copy(update={"provenance": provenance})

    one, two = "1" * 64, "2" * 64
    board = [system("a", "Mobile", one), system("b", "Mobile", two), system("c", "Tiny", two)]
    data = board_data(board, "t", None)
    assert [row["system"]["title"] for row in data["rows"]] == [
        "Mobile (run 11111111)",
        "Mobile (run 22222222)",
        "Tiny",
    ]
    # Milliseconds of two runs were measured at different times; those of a method that computes them are comparable.
    assert [group["runs"] for group in data["groups"]] == [2]
    assert [group["runs"] for group in board_data(board[1:], "t", None)["groups"]] == [1]
    computed = [system("a", "Mobile", one, "roofline"), system("b", "Mobile", one, "roofline")]
    data = board_data(computed, "t", None)
    assert [group["runs"] for group in data["groups"]] == [0]
    assert [row["system"]["title"] for row in data["rows"]] == ["Mobile (a)", "Mobile (b)"]


def test_only_contenders_are_ranked_and_stand_on_the_front() -> None:
    kinds = ("found", "baseline", "teacher", "control")
    board = [
        make_record(k, make_task(60 + i), latency=(make_block(1e-3 - i * 1e-4),), kind=k) for i, k in enumerate(kinds)
    ]
    data = board_data(board, "t", None)
    assert set(data["places"]["mean"]) == {"found", "baseline"}
    assert data["fronts"][data["groups"][0]["key"]]["latency"]["mean"] == ["baseline"]


def test_contradictions_are_refused() -> None:
    for board, message in (
        ([], "at least one record"),
        ([make_record("a"), make_record("a")], "used by 2 records"),
        ([make_record("a"), make_record("b", track="micro")], "different tracks"),
        ([make_record("a", latency=(make_block(), make_block(3e-3)))], "two blocks"),
        ([make_record("a", make_task(1.0), make_task(2.0))], "given twice"),
    ):
        with pytest.raises(RecordError, match=message):
            board_data(board, "t", None)


def test_the_note_on_embedded_data() -> None:
    def embedded(**values: Any) -> bool:
        return bool(board_data([make_record("a", **values)], "t", None)["embedded_data"])

    assert embedded(track="micro")
    assert embedded(gin_text="DataConfig.source = 'microworld'")
    assert not embedded(gin_text="DataConfig.source = 'files'\nDataConfig.microworld_seed = 0")


def test_a_machine_in_words() -> None:
    device = {"cpu_model": "AMD EPYC", "cpu_usable": 2, "memory_bytes": 25276510208, "platform": "cpu"}
    device |= {"device_kind": "cpu", "device_count": 1, "process_count": 2}
    record = make_record("a")
    assert record.provenance
    provenance = record.provenance.model_copy(update={"device": device})
    board = board_data([record.model_copy(update={"provenance": provenance})], "t", None)
    assert board["devices"] == ["AMD EPYC, 2 cores, 23.5 GiB, platform cpu, process_count 2"]


@pytest.mark.parametrize(
    ("task", "label"),
    [("glue_sst2_v1", "SST-2"), ("glue_mnli_mismatched_v1", "MNLI-mm"), ("squad_v1_1_v1", "SQuAD v1.1"), ("x", "x")],
)
def test_task_labels(task: str, label: str) -> None:
    assert task_label(task) == label


@given(st.lists(st.lists(st.integers(1, 10**9)), max_size=3), st.lists(st.lists(st.integers(1, 10**9)), max_size=3))
def test_a_distribution_counts_every_sample(own: list[list[int]], other: list[list[int]]) -> None:
    value = distribution(own, other)
    assert (value is None) == (not any(own))
    if value is None:
        return
    assert sum(value["candidate"]) == value["count"] == sum(map(len, own))
    assert sum(value["reference"] or []) == sum(map(len, other))
    quantiles = [sample for _, sample in value["quantiles"]]
    assert quantiles == sorted(quantiles)
    assert distribution([[0, 5]], []) is None, "a clock that gives zero gives no distribution"


def own_score(value: float, **changes: Any) -> TaskScore:
    """A score of a task that is not in the catalogue, with its definition."""
    return make_task(value, "stars_v1", definition=own_definition(**changes))


def test_own_tasks_have_their_title_and_a_place_in_the_mean() -> None:
    moved = {"train": TaskFile(name="moved.tsv", format="tsv", sha256="0" * 64)}
    board = [
        make_record("a", make_task(70), own_score(90, title="Stars \u202e")),
        make_record("b", make_task(60), own_score(50, files=moved)),
    ]
    data = board_data(board, "t", None)
    assert data["common_tasks"] == ["SST-2", "Stars \ufffd"]
    quality = next(q for q in data["qualities"] if q["key"] == "stars_v1.validation.accuracy")
    assert quality["description"] == "stars_v1, accuracy on validation"
    assert data["rows"][0]["scores"]["mean"][0] == 80.0
    assert data["rows"][0]["tasks"][1]["definition"]["label_names"] == list(STARS)


@pytest.mark.parametrize("changes", [{"label_names": ["2", "1"]}, {"split_seed": 1}, {"files": {}}])
def test_different_own_tasks_of_one_name_are_not_compared(changes: dict[str, Any]) -> None:
    board = [make_record("a", own_score(90)), make_record("b", own_score(50, **changes))]
    with pytest.raises(RecordError, match="b: tasks: 'stars_v1' has another definition than in 'a'"):
        board_data(board, "t", None)
