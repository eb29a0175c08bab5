"""The search: space, journal, Pareto front, and trial loops that are killed and continued."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.config import ChipConfig, ConfigError, EncoderConfig, SearchConfig, SearchSpace, encoder_from_dict
from benchmark.config.conditions import parse
from benchmark.errors import StageError
from benchmark.hardware.estimates import Estimate, KnownLatency, LatencyFailure, known_latency
from benchmark.models.formulas import num_parameters
from benchmark.search.architectures import Architectures
from benchmark.search.executors import LocalExecutor, Work
from benchmark.search.journal import Journal, JournalError, Trial, read_trials
from benchmark.search.loop import run_search
from benchmark.search.pareto import hypervolume, non_dominated
from benchmark.search.proposals import next_points, on_plateau
from benchmark.search.results import found_systems, history
from benchmark.search.space import architecture_hash, decode, encode, enumerate_points, is_valid, searched_fields

BASE = EncoderConfig(vocab_size=50, embedding_size=16, hidden_size=32, num_hidden_layers=2, max_position_embeddings=32)
SPACE = SearchSpace(
    base=BASE,
    num_hidden_layers=(1, 2, 3),
    hidden_size=(32,),
    intra_bottleneck_size=(8, 12, 16),
    num_attention_heads=(4,),
    intermediate_size=(8,),
    num_feedforward_networks=(1, 2, 4),
)
CONFIG = SearchConfig(
    space=SPACE,
    algorithm="random",
    num_trials=9,
    num_initial_trials=4,
    parallel_trials=2,
    accuracy_threshold=1.0,
    latency_threshold_s=1.0,
    chip=ChipConfig(peak_flops=1e11, memory_bandwidth=1e10),
    latency_methods=("roofline",),
    sequence_length=16,
)
LATENCY = known_latency(CONFIG, None, lambda line: None)


def quiet(line: str) -> None:
    """Takes a progress line."""


def threads(evaluate: Callable[[EncoderConfig, int], dict[str, float]]) -> LocalExecutor:
    """An executor that evaluates two trials at a time."""
    return LocalExecutor(lambda job: evaluate(encoder_from_dict(job["encoder"]), job["number"]), 2)


def accuracy(encoder: EncoderConfig, number: int = 0) -> dict[str, float]:
    """What a fake trial finds: larger students are better, with a ripple; trial numbers do not matter."""
    ripple = int(architecture_hash(encoder)[:2], 16) / 256
    return {"accuracy": 10.0 + num_parameters(encoder) / 1000 + ripple, "accuracy_stderr": 0.5, "loss": 1.0}


def test_default_space() -> None:
    space = SearchSpace(base=EncoderConfig())
    points = enumerate_points(space)
    assert len(points) == 576
    assert encode(space, EncoderConfig()) in points
    assert searched_fields(space) == (
        "hidden_size",
        "intra_bottleneck_size",
        "num_attention_heads",
        "intermediate_size",
        "num_feedforward_networks",
    )
    assert len({architecture_hash(decode(space, point)) for point in points}) == 576


def test_encode_and_decode_round_trip() -> None:
    for point in enumerate_points(SPACE):
        encoder = decode(SPACE, point)
        assert encode(SPACE, encoder) == point
        assert (encoder.hidden_size, encoder.num_attention_heads, encoder.vocab_size) == (32, 4, 50)


def test_invalid_points_are_dropped() -> None:
    space = dataclasses.replace(SPACE, num_attention_heads=(1, 3, 4))
    points = enumerate_points(space)
    assert not is_valid(space, {**points[0], "num_attention_heads": 3, "intra_bottleneck_size": 8})
    divisible = [p for p in points if p["intra_bottleneck_size"] % p["num_attention_heads"] == 0]
    assert points == divisible
    # Of three widths and three head counts, 8 and 16 do not divide by 3.
    assert len(points) == 9 * (9 - 2)


def test_conditions() -> None:
    texts = ("intermediate_size >= 2 * intra_bottleneck_size", "hidden_size % intra_bottleneck_size == 0")
    base = SearchSpace(base=EncoderConfig())
    space = dataclasses.replace(base, conditions=texts)
    points = enumerate_points(space)
    expected = [
        p
        for p in enumerate_points(base)
        if p["intermediate_size"] >= 2 * p["intra_bottleneck_size"]
        and p["hidden_size"] % p["intra_bottleneck_size"] == 0
    ]
    assert points == expected and 0 < len(points) < 576
    assert space.contains(decode(space, points[0]))
    assert not space.contains(decode(base, next(p for p in enumerate_points(base) if p not in points)))


@pytest.mark.parametrize(
    "text",
    [
        "hidden_size",
        "",
        "hidden_size >",
        "hidden_size > 1.5",
        "hidden_size > 'a'",
        "hidden_size ** 9 > 1",
        "__import__('os').system('true') == 0",
        "hidden_size > max(1, 2)",
        "hidden_size > base.hidden_size",
        "hidden_size > True",
        "hidden_size in (1, 2)",
        "hidden > 1",
        "hidden_act == 1",
        "\x00 > 1",
    ],
)
def test_conditions_that_are_no_relations_are_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SearchSpace(base=EncoderConfig(), conditions=(text,))
    assert "SearchSpace.conditions" in str(caught.value) and "\n" not in str(caught.value)


@given(a=st.integers(-9, 9), b=st.integers(-9, 9))
def test_conditions_compute_as_python_does(a: int, b: int) -> None:
    for text in ("a + 2 * b < 3 <= b", "a // b == 1", "a % b != 0", "a - b - 1 >= 0", "a * (b + 1) > b"):
        try:
            expected = eval(text, {"a": a, "b": b})
        except ZeroDivisionError:
            expected = False
        assert parse(text).holds({"a": a, "b": b}) == expected


def test_points_that_may_be_tried_keep_both_limits(tmp_path: Path) -> None:
    latencies = sorted(LATENCY.quick(decode(SPACE, p)).latency_s for p in enumerate_points(SPACE))
    config = dataclasses.replace(CONFIG, latency_threshold_s=latencies[10], max_parameters=9000)
    points = Architectures(config, LATENCY).problem({}).pool.points
    assert 0 < len(points) <= 10
    for point in enumerate_points(SPACE):
        encoder = decode(SPACE, point)
        wanted = LATENCY.quick(encoder).latency_s < latencies[10] and num_parameters(encoder) <= 9000
        assert (point in points) == wanted
    with pytest.raises(StageError, match="no valid point"):
        config = dataclasses.replace(CONFIG, max_parameters=1)
        run_search(config, Journal(tmp_path / "unused"), threads(accuracy), 0, quiet)


# Journal.


def test_journal_reads_what_it_wrote(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "search" / "journal.jsonl")
    one, two = journal.start([({"a": 1}, "sobol"), ({"a": 2}, "ax")])
    journal.finish(one, "completed", {"accuracy": 1.5})
    journal.finish(two, "failed", {"error": "diverged"})
    journal.start([({"a": 3}, "ax")])
    assert read_trials(journal.path) == journal.trials
    journal.close()
    again = Journal(journal.path)
    assert again.trials == journal.trials
    assert [t.status for t in again.trials] == ["completed", "failed", "running"]
    assert [t.number for t in again.trials] == [0, 1, 2]


@pytest.mark.parametrize(
    "torn", ['{"event": "completed", "tri', "{", '{"event": "completed", "result": {}, "trial": 0}']
)
def test_a_torn_last_line_is_dropped(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).start([({"a": 1}, "sobol")])
    whole = path.read_text()
    path.write_text(whole + torn)
    journal = Journal(path)
    assert [t.status for t in journal.trials] == ["running"]
    assert path.read_text() == whole
    journal.finish(journal.trials[0], "completed", {})
    assert [t.status for t in read_trials(path)] == ["completed"]


@pytest.mark.parametrize(
    "line",
    [
        "not JSON",
        "3",
        "{}",
        '{"event": "start", "trial": 5, "choices": []}',
        '{"event": "start", "trial": 1, "choices": [7]}',
        '{"event": "completed", "trial": 4, "result": {}}',
        '{"event": "lost", "trial": 0, "result": {}}',
        "\x00\udcff",
    ],
)
def test_a_damaged_line_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).start([({"a": 1}, "sobol")])
    path.write_bytes(path.read_bytes() + line.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(JournalError) as caught:
        Journal(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert "\n" not in str(caught.value)


# Front and hypervolume.

PAIRS = st.lists(st.tuples(st.integers(0, 100).map(float), st.integers(1, 50).map(lambda n: n / 10)), max_size=12)


@given(points=PAIRS)
def test_front_against_brute_force(points: list[tuple[float, float]]) -> None:
    expected = []
    for a in points:
        beaten = [b for b in points if b[0] >= a[0] and b[1] <= a[1] and (b[0] > a[0] or b[1] < a[1])]
        expected.append(not beaten)
    assert non_dominated(points) == expected


@given(points=PAIRS, accuracy_threshold=st.integers(0, 99), latency_threshold=st.integers(1, 5))
@settings(max_examples=50)
def test_hypervolume_against_botorch(
    points: list[tuple[float, float]], accuracy_threshold: int, latency_threshold: int
) -> None:
    import torch
    from botorch.utils.multi_objective.hypervolume import Hypervolume

    box = torch.tensor(
        [
            [
                (min(a, 100.0) - accuracy_threshold) / (100.0 - accuracy_threshold),
                min(1.0, float(torch.log(torch.tensor(latency_threshold / t, dtype=torch.double))) / 4.605170185988092),
            ]
            for a, t in points
        ],
        dtype=torch.double,
    ).reshape(-1, 2)
    box = box[(box > 0).all(dim=1)]
    expected = Hypervolume(torch.zeros(2, dtype=torch.double)).compute(box) if len(box) else 0.0
    assert hypervolume(points, accuracy_threshold, latency_threshold) == pytest.approx(expected, abs=1e-9)


def test_hypervolume_corners() -> None:
    assert hypervolume([], 0.0, 1.0) == 0.0
    assert hypervolume([(100.0, 0.01)], 0.0, 1.0) == pytest.approx(1.0)
    # Latency a hundred times below the threshold is the end of the scale.
    assert hypervolume([(100.0, 1e-6)], 0.0, 1.0) == pytest.approx(1.0)
    assert hypervolume([(50.0, 0.1)], 0.0, 1.0) == pytest.approx(0.25)
    assert hypervolume([(50.0, 1.0), (0.0, 0.1)], 0.0, 1.0) == 0.0
    assert hypervolume([(50.0, 0.1)], 100.0, 1.0) == 0.0
    assert non_dominated([(float("nan"), 1.0), (1.0, 1.0)]) == [False, True]


# The loop.


def stable(path: Path) -> list[Any]:
    """The journal without what depends on the clock."""
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    for entry in entries:
        for name in ("seconds", "suggest_seconds", "compile_seconds"):
            entry.get("result", {}).pop(name, None)
    return entries


def points_of(trials: list[Trial]) -> list[tuple[int, ...]]:
    # The journal sorts names, so a point that was read back lists its values in another order.
    return [tuple(value for _, value in sorted(t.point.items())) for t in trials]


def test_no_point_is_tried_twice_until_the_space_is_empty(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, num_trials=100)
    trials = run_search(config, Journal(tmp_path / "j"), threads(accuracy), 0, quiet)
    assert len(trials) == 27 == len(set(points_of(trials)))
    assert [t.generator for t in trials[:4]] == ["random"] * 4
    assert {t.generator for t in trials[4:]} == {"random"}
    # Once done, a second call has nothing to do.
    before = (tmp_path / "j").read_bytes()
    assert run_search(config, Journal(tmp_path / "j"), threads(accuracy), 0, quiet) == trials
    assert (tmp_path / "j").read_bytes() == before


def test_failed_trials_are_written_down_and_not_proposed_again(tmp_path: Path) -> None:
    def failing(encoder: EncoderConfig, number: int) -> dict[str, float]:
        if number == 1:
            raise RuntimeError("loss is nan\nat step 3")
        return accuracy(encoder) | ({"loss": float("nan")} if number == 2 else {})

    trials = run_search(CONFIG, Journal(tmp_path / "j"), threads(failing), 0, quiet)
    assert [t.status for t in trials[:4]] == ["completed", "failed", "failed", "completed"]
    assert trials[1].result["error"] == "loss is nan"
    assert trials[2].result["error"] == "loss is not a finite number"
    assert trials[1].result["latency_s"] > 0
    assert len(trials) == 9 == len(set(points_of(trials)))
    rows = history(CONFIG, trials, "micro")["trials"]
    assert (rows[1]["accuracy"], rows[1]["on_front"]) == (None, False)
    assert [r["hypervolume"] for r in rows] == sorted(r["hypervolume"] for r in rows)


def killed_at_every_event(
    config: SearchConfig, folder: Path, work: Work | None = None
) -> tuple[list[Trial], list[Trial], Path, Path]:
    """Runs a search undisturbed, and once more with a kill after each journal line and inside each evaluation."""
    evaluate = work or (lambda job: accuracy(encoder_from_dict(job["encoder"])))
    undisturbed = run_search(config, Journal(folder / "whole"), LocalExecutor(evaluate, 2), 3, quiet)
    path = folder / "killed"
    written: set[int] = set()
    evaluated: set[tuple[int, float]] = set()

    class Fragile(Journal):
        def _append(self, entry: dict[str, Any]) -> None:
            super()._append(entry)
            size = path.stat().st_size
            if size not in written:
                written.add(size)
                raise KeyboardInterrupt

    def fragile(job: dict[str, Any]) -> dict[str, float]:
        key = job["number"], job["fraction"]
        if key not in evaluated:
            evaluated.add(key)
            raise KeyboardInterrupt
        return evaluate(job)

    for _ in range(200):
        try:
            with Fragile(path) as journal:
                executor = LocalExecutor(fragile, 2)
                return undisturbed, run_search(config, journal, executor, 3, quiet), folder / "whole", path
        except KeyboardInterrupt:
            continue
    raise AssertionError("the search never ends")


def test_a_search_killed_at_every_event_ends_the_same(tmp_path: Path) -> None:
    undisturbed, killed, whole, path = killed_at_every_event(CONFIG, tmp_path)
    assert points_of(killed) == points_of(undisturbed)
    assert stable(path) == stable(whole)


def test_parallel_trials_do_not_change_a_journal(tmp_path: Path) -> None:
    # Within the initial design the proposals do not depend on results, so the number of threads must not show.
    config = dataclasses.replace(CONFIG, num_trials=4)
    run_search(config, Journal(tmp_path / "two"), threads(accuracy), 0, quiet)
    run_search(dataclasses.replace(config, parallel_trials=1), Journal(tmp_path / "one"), threads(accuracy), 0, quiet)
    finished = [[e for e in stable(tmp_path / name) if e["event"] == "completed"] for name in ("one", "two")]
    assert finished[0] == finished[1]


def test_ax_killed_at_every_event_ends_the_same(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, algorithm="ax", num_trials=6)
    undisturbed, killed, whole, path = killed_at_every_event(config, tmp_path)
    assert points_of(killed) == points_of(undisturbed)
    assert stable(path) == stable(whole)
    assert "ax" in {t.generator for t in killed[4:]}
    assert len(set(points_of(killed))) == 6


def test_suggestions_that_are_known_or_invalid_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.search import algorithms

    architectures = Architectures(CONFIG, LATENCY)
    points = architectures.problem({}).pool.points
    result = {**accuracy(BASE), "latency_s": 1e-3}
    trials = [Trial(i, whole(point), "design", "completed", result) for i, point in enumerate(points[:4])]
    suggestions = [points[0], points[7], points[7], {**points[8], "num_feedforward_networks": 3}]
    asked: list[Any] = []

    def suggest(*arguments: Any) -> list[Any]:
        asked.append(arguments)
        return suggestions

    monkeypatch.setitem(algorithms.ALGORITHMS, "ax", suggest)
    config = dataclasses.replace(CONFIG, algorithm="ax")
    # The last one decodes, though its value is none of those listed: it is a point of another space.
    chosen = next_points(config, architectures, trials, 5, 3)
    assert chosen == [(points[7], "ax")]
    ((_, observations, running, count, seed),) = asked
    assert (len(observations), running, count, seed) == (4, [], 3, 5)
    suggestions[:] = suggestions[:1]
    ((point, generator),) = next_points(config, architectures, trials, 5, 1)
    assert (generator, point in points[4:]) == ("sobol", True)
    # Without a single completed trial there is nothing to learn from.
    asked.clear()
    for trial in trials:
        trial.status = "failed"
    assert next_points(config, architectures, trials, 5, 1)[0][1] == "sobol"
    assert not asked


def test_attached_architectures_are_tried_first(tmp_path: Path) -> None:
    points = enumerate_points(SPACE)
    attach = (decode(SPACE, points[13]), decode(SPACE, points[2]))
    config = dataclasses.replace(CONFIG, attach=attach, algorithm="nsga2", num_trials=6)
    trials = run_search(config, Journal(tmp_path / "j"), threads(accuracy), 0, quiet)
    assert [t.generator for t in trials[:4]] == ["attach", "attach", "design", "design"]
    assert points_of(trials[:2]) == [tuple(v for _, v in sorted(points[i].items())) for i in (13, 2)]
    assert len(set(points_of(trials))) == 6
    for encoder in (
        dataclasses.replace(BASE, num_feedforward_networks=3, intra_bottleneck_size=8, intermediate_size=8),
        dataclasses.replace(attach[0], vocab_size=51),
    ):
        with pytest.raises(ConfigError, match="SearchConfig.attach"):
            dataclasses.replace(CONFIG, attach=(encoder,))


def test_a_plateau_ends_the_search(tmp_path: Path) -> None:
    # Accuracy that does not depend on the student: once the fastest is known, nothing is gained.
    config = dataclasses.replace(CONFIG, algorithm="exhaustive", plateau_trials=3, num_trials=27, num_initial_trials=2)
    lines: list[str] = []
    flat = {"accuracy": 50.0, "accuracy_stderr": 0.5, "loss": 1.0}
    trials = run_search(config, Journal(tmp_path / "j"), threads(lambda encoder, number: flat), 0, lines.append)
    assert len(trials) == 6
    assert any("ends after 6 trials" in line for line in lines)
    # Continuing does not go on, more patience does.
    assert len(run_search(config, Journal(tmp_path / "j"), threads(lambda encoder, number: flat), 0, quiet)) == 6
    assert not on_plateau(dataclasses.replace(config, plateau_trials=5), trials)
    assert not on_plateau(dataclasses.replace(config, plateau_trials=0), trials)
    assert not on_plateau(dataclasses.replace(config, plateau_gain=0.0), trials)
    assert on_plateau(dataclasses.replace(config, plateau_trials=2), trials)


class Compiled(KnownLatency):
    """Exact latencies that are three times the quick ones, more for deep students; those of some cannot be had."""

    def __init__(self, refused: frozenset[int] = frozenset()) -> None:
        super().__init__(CONFIG, None)
        self.method = "compiled"
        self.asked: list[EncoderConfig] = []
        self.refused = refused

    def exact(self, encoders: Sequence[EncoderConfig]) -> list[Estimate | LatencyFailure]:
        self.asked += encoders
        return [
            LatencyFailure("does not fit")
            if e.num_hidden_layers in self.refused
            else Estimate("compiled", self.quick(e).latency_s * (3.0 + e.num_hidden_layers))
            for e in encoders
        ]


@pytest.mark.parametrize("algorithm", ["ax", "random"])
def test_no_point_is_proposed_by_a_quick_latency(tmp_path: Path, algorithm: str) -> None:
    config = dataclasses.replace(CONFIG, algorithm=algorithm, num_trials=8, parallel_trials=1)
    latency = Compiled()
    asked: dict[int, int] = {}

    def evaluate(encoder: EncoderConfig, number: int) -> dict[str, float]:
        asked[number] = latency.asked.index(encoder)
        return accuracy(encoder)

    trials = run_search(config, Journal(tmp_path / "j"), threads(evaluate), 0, quiet, latency)
    assert len(asked) == len(trials) == 8 == len(set(points_of(trials)))
    for trial in trials:
        encoder = decode(SPACE, trial.point)
        assert trial.result["latency_s"] == latency.quick(encoder).latency_s * (3 + encoder.num_hidden_layers)
    # From the same trials comes the same choice, whatever was asked for before.
    for count in (5, 7):
        choices = [
            next_points(config, Architectures(config, some), trials[:count], 0, 1) for some in (latency, Compiled())
        ]
        assert choices[0] == choices[1] == [(trials[count].point, trials[count].generator)]


def test_a_latency_that_cannot_be_had_is_a_failed_trial(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, algorithm="exhaustive", num_trials=27)
    trials = run_search(config, Journal(tmp_path / "j"), threads(accuracy), 0, quiet, Compiled(frozenset({2})))
    failed = [t for t in trials if t.status == "failed"]
    assert {t.point["num_hidden_layers"] for t in failed} == {2} and len(failed) == 9
    assert {t.result["error"] for t in failed} == {"does not fit"}
    assert len(set(points_of(trials))) == 27


def test_points_slower_than_the_threshold_are_dropped_once_that_is_known() -> None:
    slowest = max(LATENCY.quick(decode(SPACE, p)).latency_s for p in enumerate_points(SPACE))
    config = dataclasses.replace(CONFIG, algorithm="exhaustive", latency_threshold_s=4.5 * slowest)
    chosen = next_points(config, Architectures(config, Compiled()), [], 0, 27)
    for point, _ in chosen:
        encoder = decode(SPACE, whole(point))
        assert LATENCY.quick(encoder).latency_s * (3 + encoder.num_hidden_layers) < config.latency_threshold_s
    assert 9 <= len(chosen) < 27


def whole(point: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(value) for name, value in point.items()}


def completed(values: list[tuple[float, float]]) -> list[Trial]:
    points = enumerate_points(SPACE)
    return [
        Trial(i, whole(points[i]), "sobol", "completed", {"accuracy": a, "latency_s": t})
        for i, (a, t) in enumerate(values)
    ]


def test_found_systems_are_front_members() -> None:
    # The second is beaten by the first; the third adds most area, then the first.
    trials = completed([(40.0, 0.1), (30.0, 0.2), (60.0, 0.11), (5.0, 0.02)])
    trials.append(Trial(4, whole(enumerate_points(SPACE)[4]), "ax", "failed", {"error": "x", "latency_s": 1e-3}))
    expected = {n: [trials[2], trials[3], trials[0]][:n] for n in (1, 2, 3, 9)}
    for count, wanted in expected.items():
        found = found_systems(dataclasses.replace(CONFIG, num_found=count), trials)
        assert {encoder for _, encoder in found} == {decode(SPACE, t.point) for t in wanted}
        assert all(name == f"found-{architecture_hash(encoder)[:8]}" for name, encoder in found)
    assert found_systems(CONFIG, trials)[0][1] == decode(SPACE, trials[2].point)
    with pytest.raises(StageError, match="no trial completed"):
        found_systems(CONFIG, trials[-1:])


def test_history_marks_the_front(tmp_path: Path) -> None:
    trials = run_search(CONFIG, Journal(tmp_path / "j"), threads(accuracy), 0, quiet)
    page = history(CONFIG, trials, "micro")
    json.dumps(page, allow_nan=False)
    front = non_dominated([(t.result["accuracy"], t.result["latency_s"]) for t in trials])
    assert [row["on_front"] for row in page["trials"]] == front
    pairs = [(t.result["accuracy"], t.result["latency_s"]) for t in trials]
    assert page["trials"][-1]["hypervolume"] == pytest.approx(hypervolume(pairs, 1.0, 1.0))
