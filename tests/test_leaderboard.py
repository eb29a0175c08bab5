"""The leaderboard without a browser: reading, order, exports, the page's text and the command line."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark import records
from benchmark.config import EncoderConfig, to_dict
from benchmark.records import LatencyBlock, MetricScore, Provenance, Record, RecordError, System, TaskScore, Training
from leaderboard import rank
from leaderboard.__main__ import main
from leaderboard.board import board_data, distribution, task_label
from leaderboard.build import build
from leaderboard.export import csv_text, island_json, printable, records_csv
from leaderboard.history import HistoryError, parse_history
from leaderboard.load import load_records
from leaderboard.rank import Estimate, LatencyGroup, TaskKey

HOSTILE = "</script><script>alert(1)</script><!--\u2028\u2029&amp;"


def _block(latency_s: float = 2e-3, **changes: Any) -> LatencyBlock:
    values: dict[str, Any] = {
        "method": "measured",
        "chip": "cpu_2core",
        "batch_size": 1,
        "sequence_length": 64,
        "dtype": "float32",
        "latency_s": latency_s,
    }
    return LatencyBlock(**values | changes)


def _task(value: float, task: str = "glue_sst2_v1", half: float | None = 2.0, **changes: Any) -> TaskScore:
    interval = None if half is None else (value - half, value + half)
    values: dict[str, Any] = {
        "task": task,
        "split": "validation",
        "primary_metric": "accuracy",
        "metrics": {"accuracy": MetricScore(value=value, per_seed=[value], interval=interval)},
        "num_examples": 100,
        "seeds": [0],
    }
    return TaskScore(**values | changes)


def _record(
    name: str,
    *tasks: TaskScore,
    latency: tuple[LatencyBlock, ...] = (),
    kind: Any = "found",
    title: str = "System",
    track: str = "small",
    accuracy: float | None = 40.0,
    gin_text: str = "",
) -> Record:
    encoder = to_dict(EncoderConfig())
    return Record(
        id=name,
        track=track,
        track_version="0.1",
        trust="self-reported",
        system=System(
            name=name, title=title, kind=kind, encoder=encoder, parameters=10, flops=20, flops_sequence_length=64
        ),
        tasks=list(tasks),
        latency=list(latency),
        training=Training(
            recipe="mobilebert", teacher=None, steps=1, tokens=1, masked_lm_accuracy=accuracy, masked_lm_predictions=100
        ),
        provenance=Provenance(
            command="python run_benchmark.py",
            config_fingerprint="0",
            gin_text=gin_text,
            git_commit="0",
            git_dirty=False,
            versions={},
            device={"cpu": "x"},
            data_digests={},
            vocabulary_digest="0",
        ),
    )


def _history(**changes: Any) -> dict[str, Any]:
    trial = {
        "trial": 0,
        "status": "completed",
        "generator": HOSTILE,
        "encoder": to_dict(EncoderConfig()),
        "parameters": 5,
        "accuracy": 30.0,
        "accuracy_stderr": None,
        "latency_s": 0.001,
        "on_front": True,
        "hypervolume": 0.1,
        "seconds": 2.0,
    }
    return {
        "schema_version": 1,
        "track": "small",
        "algorithm": "ax",
        "objectives": {
            "accuracy": {"unit": "percent", "direction": "maximize", "threshold": 0.0},
            "latency": {"unit": "s", "direction": "minimize", "threshold": 1.0, "method": "roofline", "chip": "cpu"},
        },
        "trials": [trial | changes],
        "search_fields": ["hidden_size"],
    }


# --- reading ---


def test_records_are_read_from_a_run_or_from_its_results_folder(tmp_path: Path) -> None:
    for name in ("b", "a"):
        records.write(tmp_path / "results" / f"z_{name}.json", _record(name))
    (tmp_path / "results" / ".half.json").write_text("{")
    assert [r.id for r in load_records(tmp_path)] == ["a", "b"]
    assert load_records(tmp_path / "results") == load_records(tmp_path)


def test_bad_folders_are_refused_in_one_line(tmp_path: Path) -> None:
    def message(directory: Path) -> str:
        with pytest.raises(RecordError) as error:
            load_records(directory)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "not a folder" in message(tmp_path / "missing")
    assert "no record files" in message(tmp_path)
    records.write(tmp_path / "one.json", _record("same"))
    records.write(tmp_path / "two.json", _record("same"))
    assert "'same': already used by" in message(tmp_path)
    (tmp_path / "one.json").write_text('{"schema_version": 1, "id": NaN}')
    assert "NaN is not a finite number" in message(tmp_path)


# --- order ---

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
    lambda value, half: Estimate(value, None if half is None else (value - half, value + half)),
    st.floats(0, 100),
    st.none() | st.floats(0, 20),
)


@given(st.dictionaries(st.text("abcdef", min_size=1), _ESTIMATES))
def test_places_follow_scores_and_ties_overlap_their_leader(scores: dict[str, Estimate]) -> None:
    places = rank.tie_places(scores)
    assert set(places) == set(scores)
    order = sorted(scores, key=lambda name: (-scores[name].value, name))
    ranks = [places[name].rank for name in order]
    assert ranks == sorted(ranks)
    for position, name in enumerate(order):
        leader = order[places[name].rank - 1]
        assert places[leader].rank == places[name].rank <= position + 1
        if name != leader:
            assert scores[name].bounds[1] >= scores[leader].bounds[0] and places[name].tied
        assert places[name].tied == (ranks.count(places[name].rank) > 1)


def test_places_by_hand() -> None:
    scores = {"a": Estimate(80, (78, 82)), "b": Estimate(77, (75, 79)), "c": Estimate(74, (73, 75.5))}
    places = rank.tie_places(scores | {"d": Estimate(60)})
    # b overlaps a; c overlaps b but not the leader a, so it leads the next group.
    assert {name: (p.rank, p.tied) for name, p in places.items()} == {
        "a": (1, True),
        "b": (1, True),
        "c": (3, False),
        "d": (4, False),
    }


def test_the_mean_adds_errors_in_quadrature() -> None:
    a, b = TaskKey("a", "v", "m"), TaskKey("b", "v", "m")
    scores = {a: Estimate(80.0, (77.0, 83.0)), b: Estimate(60.0, (56.0, 64.0))}
    assert rank.mean_estimate(scores, [a, b]) == Estimate(70.0, (67.5, 72.5))
    assert rank.mean_estimate(scores | {b: Estimate(60.0)}, [a, b]) == Estimate(70.0, None)
    assert rank.mean_estimate({a: scores[a]}, [a, b]) is None
    assert rank.mean_estimate(scores, []) is None


@given(st.floats(0, 100), st.integers(1, 100_000))
def test_the_wilson_interval_holds_the_proportion(percent: float, count: int) -> None:
    low, high = rank.wilson_interval(percent, count)
    assert 0 <= low <= percent + 1e-9 and percent - 1e-9 <= high <= 100


def test_the_wilson_interval_against_a_published_value() -> None:
    # Newcombe (1998), table I: 81 of 263.
    low, high = rank.wilson_interval(100 * 81 / 263, 263)
    assert (round(low, 2), round(high, 2)) == (25.53, 36.62)


def test_common_tasks_ignore_published_numbers_and_untested_systems() -> None:
    board = [
        _record("a", _task(70), _task(60, "glue_rte_v1")),
        _record("b", _task(65), _task(50, "glue_rte_v1"), _task(40, "glue_cola_v1")),
        _record("c", _task(80), kind="reported"),
        _record("d", kind="control"),
    ]
    assert [key.task for key in rank.common_tasks(board)] == ["glue_rte_v1", "glue_sst2_v1"]
    assert rank.common_tasks([]) == []


def test_scores_of_other_splits_and_latencies_of_other_conditions_are_never_mixed() -> None:
    board = [
        _record("a", _task(70), latency=(_block(1e-3),)),
        _record("b", _task(60, split="test"), latency=(_block(5e-4, dtype="bfloat16"),)),
        _record("c", _task(65), latency=(_block(5e-4, batch_size=8), _block(2e-3))),
    ]
    assert rank.common_tasks(board) == []
    data = board_data(board, "t", None)
    assert len({q["label"] for q in data["qualities"]}) == len(data["qualities"]), "labels tell the splits apart"
    key = TaskKey("glue_sst2_v1", "validation", "accuracy").key
    first = data["groups"][0]["key"]
    assert first == LatencyGroup.of(_block()).key, "the group with most systems comes first"
    assert data["fronts"][first]["latency"][key] == ["a"]
    other = LatencyGroup.of(_block(batch_size=8)).key
    assert data["fronts"][other]["latency"][key] == ["c"]


def test_speedups_over_another_reference_are_not_compared() -> None:
    def system(name: str, reference: str, speedup: float) -> Record:
        return _record(name, _task(70), latency=(_block(reference=reference, speedup=speedup),))

    board = [system("a", "bert", 2.0), system("b", "bert", 1.0), system("c", "other", 9.0)]
    data = board_data(board, "t", None)
    assert data["groups"][0]["reference"] == "bert"
    assert data["fronts"][data["groups"][0]["key"]]["speedup"]["mean"] == ["a"]
    assert [next(iter(row["latency"].values()))["comparable_speedup"] for row in data["rows"]] == [True, True, False]


def test_only_contenders_are_ranked_and_stand_on_the_front() -> None:
    kinds = ("found", "baseline", "teacher", "control")
    board = [_record(k, _task(60 + i), latency=(_block(1e-3 - i * 1e-4),), kind=k) for i, k in enumerate(kinds)]
    data = board_data(board, "t", None)
    assert set(data["places"]["mean"]) == {"found", "baseline"}
    assert data["fronts"][data["groups"][0]["key"]]["latency"]["mean"] == ["baseline"]


def test_contradictions_are_refused() -> None:
    for board, message in (
        ([], "at least one record"),
        ([_record("a"), _record("a")], "used by 2 records"),
        ([_record("a"), _record("b", track="micro")], "different tracks"),
        ([_record("a", latency=(_block(), _block(3e-3)))], "two blocks"),
        ([_record("a", _task(1.0), _task(2.0))], "given twice"),
    ):
        with pytest.raises(RecordError, match=message):
            board_data(board, "t", None)


def test_the_note_on_embedded_data() -> None:
    def embedded(**values: Any) -> bool:
        return bool(board_data([_record("a", **values)], "t", None)["embedded_data"])

    assert embedded(track="micro")
    assert embedded(gin_text="DataConfig.source = 'microworld'")
    assert not embedded(gin_text="DataConfig.source = 'files'\nDataConfig.microworld_seed = 0")


def test_a_machine_in_words() -> None:
    device = {"cpu_model": "AMD EPYC", "cpu_usable": 2, "memory_bytes": 25276510208, "platform": "cpu"}
    device |= {"device_kind": "cpu", "device_count": 1, "process_count": 2}
    record = _record("a")
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


# --- exports ---


def test_csv_is_rfc_4180_and_free_of_formulas() -> None:
    cells: list[str | int | float | None] = [
        "=1+1",
        "+a",
        "-b",
        "@c",
        "\td",
        "\re",
        " =f",
        "＝g",
        'say "x", twice',
        "two\nlines",
        -1.5,
        None,
        "ok",
    ]
    text = csv_text(["=head"], [cells])
    head, row = list(csv.reader(io.StringIO(text, newline="")))
    assert head == ["'=head"]
    assert row[:8] == ["'" + str(cell) for cell in cells[:8]]
    assert row[8:] == ['say "x", twice', "two\nlines", "-1.5", "", "ok"]
    assert text.endswith("\r\n")


def test_the_csv_of_records_has_one_line_each() -> None:
    board = [_record("a", _task(70), latency=(_block(speedup=2.0, reference="bert"),), title="=cmd()"), _record("b")]
    rows = list(csv.DictReader(io.StringIO(records_csv(board), newline="")))
    assert [row["id"] for row in rows] == ["a", "b"]
    assert rows[0]["title"] == "'=cmd()"
    assert float(rows[0]["glue_sst2_v1.validation.accuracy.low"]) == 68.0
    assert float(rows[0]["measured.cpu_2core.b1.l64.float32.speedup"]) == 2.0
    assert rows[1]["mean"] == ""


@given(st.text())
def test_island_json_cannot_end_its_element(text: str) -> None:
    written = island_json({"text": text})
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == {"text": text}


def test_printable_shows_what_would_hide() -> None:
    assert printable("a\u202eb\x00c\ud800d") == "a\ufffdb\ufffdc\ufffdd"
    assert printable("e\u0301") == "é"


# --- the page ---


def _board() -> list[Record]:
    return [
        _record("a", _task(70), latency=(_block(samples_ns=[[10, 11]]),), title=HOSTILE),
        _record("b", _task(60), latency=(_block(1e-3),)),
        _record("c", _task(90)),
    ]


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    build(_board(), tmp_path / "x", title="Board", history=_history())
    build(_board()[::-1], tmp_path / "y", title="Board", history=_history())
    for name in ("index.html", "records.csv", "records.json"):
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()
    values = json.loads((tmp_path / "x" / "records.json").read_text())
    assert [records.parse(json.dumps(value)) for value in values] == _board()


def test_the_page_is_one_file_under_a_strict_policy(tmp_path: Path) -> None:
    text = build(_board(), tmp_path, title=HOSTILE, history=_history()).read_text(encoding="utf-8")
    assert "<script>alert" not in text and "\u2028" not in text
    assert not re.search(r"(?:src|href)=[\"'](?!data:,|#systems|records\.(?:csv|json))", text)
    assert "http://www.w3.org" in text and not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy and policy.group(1).startswith("default-src &#39;none&#39;; ") and "unsafe" not in policy.group(1)
    for tag in ("script", "style"):
        (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest}&#39;;" in policy.group(1)
    island = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert island
    data = json.loads(island.group(1))
    assert data["rows"][0]["system"]["title"] == printable(HOSTILE)
    assert data["history"]["trials"][0]["generator"] == HOSTILE


def test_scripts_make_elements_only_from_text() -> None:
    markup = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function")
    for path in sorted((Path(rank.__file__).parent / "static").glob("*.js")):
        text = path.read_text(encoding="utf-8")
        assert not markup.search(text), path
        assert len(text.splitlines()) <= 350, path


def test_the_history_is_checked() -> None:
    assert parse_history(_history(status="failed", accuracy=None, latency_s=None, on_front=False)).trials
    for changes, message in (
        ({"accuracy": None}, "needs accuracy"),
        ({"hypervolume": math.nan}, "hypervolume"),
        ({"latency_s": 0.0}, "latency_s"),
        ({"status": "failed"}, "cannot be on the front"),
        ({"encoder": {"hidden_size": 0}}, "EncoderConfig.hidden_size"),
        ({"encoder": {}}, "lacks the search field"),
        ({"surprise": 1}, "surprise"),
    ):
        with pytest.raises(HistoryError, match=message):
            parse_history(_history(**changes))


# --- the command line ---


def test_the_command_builds_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for record in _board():
        records.write(tmp_path / "results" / f"{record.id}.json", record)
    (tmp_path / "history.json").write_text(json.dumps(_history()))
    arguments = ["build", f"--results={tmp_path}", f"--out={tmp_path / 'site'}"]
    arguments.append(f"--history={tmp_path / 'history.json'}")
    assert main(arguments) == 0
    assert (tmp_path / "site" / "index.html").exists()
    capsys.readouterr()
    (tmp_path / "history.json").write_text('{"schema_version": 1, "schema_version": 1}')
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["build", f"--results={tmp_path / 'no'}", f"--out={tmp_path}"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    with pytest.raises(SystemExit) as error:
        main(["build"])
    assert error.value.code == 2


def test_help_loads_nothing_heavy() -> None:
    root = Path(rank.__file__).parents[1]
    code = "import sys; from leaderboard.__main__ import _parser; _parser().format_help(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert not {"pydantic", "jinja2", "numpy", "pandas"} & set(done.stdout.split())
