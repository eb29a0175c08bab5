"""The page of published systems without a browser: data, files and the command line."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmark.records.record import RecordError, ReportedScore, write
from leaderboard.__main__ import main
from leaderboard.published import build_published, latencies_csv, published_data, score_key, scores_csv
from tests.helpers.board_records import make_record, make_task
from tests.helpers.published_records import SCORES, TIMES, make_published

RECORDS = [make_published(name) for name in TIMES]
DATA = published_data(RECORDS, "Published")
MNLI = "task.glue_mnli_matched_v1.{}.accuracy"
SQUAD = "task.squad_v1_1_v1.validation.f1"
XLA = "measured.two_cores.b1.l128.float32.xla.t2.p4"
TPU = "compiled.tpu_v4_core.b1.l128.bfloat16"


def test_splits_and_averages_never_share_a_quality() -> None:
    counts = {quality["key"]: quality["count"] for quality in DATA["qualities"]}
    # The system without architecture has no latency, and does not count.
    expected = {"average.col9.test": 3, MNLI.format("test"): 3, MNLI.format("validation"): 2, SQUAD: 5}
    assert counts == expected
    labels = {quality["key"]: quality["label"] for quality in DATA["qualities"]}
    assert labels[SQUAD] == "SQuAD v1.1 F1, validation"
    assert labels["average.col9.test"] == "GLUE average col9, test"
    assert len(set(labels.values())) == len(labels)


def test_undefined_averages_and_masked_lm_accuracies_are_comparable_inside_one_source_only() -> None:
    def score(family: Any, name: str, source: str) -> ReportedScore:
        return ReportedScore(family=family, name=name, split="test", metric=None, value=80.0, source=source)

    for family, name in (("average", "unknown"), ("masked_lm", "masked_lm")):
        one, two, three = (score(family, name, f"{who}, https://a.org/{who}") for who in ("One", "Two", "One"))
        assert score_key(one) == score_key(three) != score_key(two)
        data = published_data(
            [make_published("minilm", reported=[one]), make_published("bert_base", reported=[two])], "Published"
        )
        assert [(quality["family"], quality["count"]) for quality in data["qualities"]] == [("one_source", 1)] * 2
        assert {quality["label"].count("(One), test") for quality in data["qualities"]} == {0, 1}
    assert score_key(score("average", "col9", "One")) == score_key(score("average", "col9", "Two"))


def test_fronts_are_those_of_the_drawn_points() -> None:
    for cost, place in ((XLA, 1), (TPU, 3)):
        for quality, key in ((MNLI.format("test"), "test"), (SQUAD, "squad"), ("average.col9.test", "col9")):
            points = {
                f"published-{name}": (TIMES[name][place], SCORES[name][key][0])
                for name in TIMES
                if TIMES[name][place] is not None and key in SCORES[name]
            }
            front = {
                name
                for name, (time, score) in points.items()
                if not any(
                    (t <= time and s >= score) and (t < time or s > score)  # type: ignore[operator]
                    for t, s in points.values()
                )
            }
            # Here all speed-ups are ratios of the latencies.
            for axis in ("latency", "speedup"):
                assert set(DATA["fronts"][axis][cost][quality]) == front, (axis, cost, quality)
    assert not any(key.startswith("reported.") for key in DATA["fronts"]["latency"])


def test_every_column_says_whose_it_is() -> None:
    whose = {cost["key"]: cost["whose"] for cost in DATA["costs"]}
    assert whose[XLA] == "measured here" and whose[TPU] == "compiled here"
    assert whose["reported.Pixel 4.b1.l128.not stated"] == "reported"
    assert {cost["reference"] for cost in DATA["costs"]} == {"BERT_BASE"}


def test_speed_ups_are_measured_or_ratios_of_compiled_latencies() -> None:
    rows = {row["id"]: row for row in DATA["rows"]}
    assert rows["published-minilm"]["latency"][XLA]["speedup"] == pytest.approx(3.75)
    assert rows["published-minilm"]["latency"][TPU]["speedup"] == pytest.approx(4.0)
    assert rows["published-minilm"]["latency"][TPU]["speedup_interval"] is None
    assert rows["published-bert_base"]["latency"][XLA]["speedup"] == 1.0
    pixel = rows["published-bert_base"]["latency"]["reported.Pixel 4.b1.l128.not stated"]
    assert pixel["speedup"] is None and "arxiv.org" in pixel["source"]
    # Another reference in the same group is not comparable.
    block = RECORDS[3].latency[0].model_copy(update={"reference": "other", "speedup": 9.0})
    odd = make_published("minilm", latency=[block])
    data = published_data([*RECORDS[:3], odd], "Published")
    assert next(r for r in data["rows"] if r["id"] == odd.id)["latency"][XLA]["speedup"] is None


def test_the_state_of_the_machine_is_told() -> None:
    assert DATA["machines"] == ["two_cores, 2 cores, 8 GiB; python 3.11, jax 0.10"]
    assert DATA["disturbed"] == ["MiniLM (0.8 cores)"]
    noisy = [block.model_copy(update={"details": {"other_cores": 1.2}}) for block in RECORDS[0].latency]
    both = [make_published("bert_base", latency=noisy), make_published("minilm"), make_published("unknown")]
    assert published_data(both, "Published")["disturbed"] == ["every system (up to 1.2 cores)"]
    assert DATA["absent"] == ["No latency by tpu_v6e of any system: libtpu is not installed"]


def test_files_next_to_the_page_hold_every_number(tmp_path: Path) -> None:
    page = build_published(list(reversed(RECORDS)), tmp_path / "a", title="Published")
    assert page.read_bytes() == build_published(RECORDS, tmp_path / "b", title="Published").read_bytes()
    scores = list(csv.DictReader(io.StringIO(scores_csv(RECORDS), newline="")))
    assert len(scores) == sum(len(values) for own in SCORES.values() for values in own.values())
    assert all(row["source"] and row["split"] for row in scores)
    times = list(csv.DictReader(io.StringIO(latencies_csv(RECORDS), newline="")))
    assert len(times) == sum(len(record.latency) for record in RECORDS)
    assert len(json.loads((tmp_path / "a" / "records.json").read_text())) == len(RECORDS)
    text = page.read_text()
    assert text.count("<script") == 2 and not re.search(r"\son\w+=", text.partition("<script")[0])


def test_the_command_writes_the_page_or_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for record in RECORDS:
        write(tmp_path / "results" / f"{record.system.name}.json", record)
    words = ["published", f"--results={tmp_path}", f"--out={tmp_path / 'site'}"]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{len(TIMES)} published systems -> {tmp_path / 'site' / 'index.html'}\n"
    write(tmp_path / "results" / "run.json", make_record("run", make_task(70.0)))
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "run: system.kind = 'found': expected 'reported'" in error
    with pytest.raises(RecordError, match="at least one record"):
        published_data([], "Published")
