"""Measured latencies of a search in its stage, its record and a repetition from the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli.gin_loader import load_run_config
from benchmark.config import fingerprint
from benchmark.hardware.estimates import Estimate, LatencyFailure
from benchmark.latency.candidates import candidate_key
from benchmark.pipeline import search, search_latency
from benchmark.pipeline.run_context import Run
from benchmark.pipeline.search_latency import Recorded, description, measured_latency, protocol, protocol_fingerprint
from benchmark.pipeline.verify import contradictions
from benchmark.pipeline.verify_request import read_request
from benchmark.pipeline.workdir import read_json, write_json
from benchmark.records.search_excerpt import MeasuredSearch, SearchExcerpt
from benchmark.search.space import decode, enumerate_points
from tasks.system.errors import StageError
from tasks.system.repository import REPOSITORY
from tests.helpers.mnli_run import TINY

LAPTOP = REPOSITORY / "gin" / "laptop.gin"
FOUND = REPOSITORY / "tests" / "data" / "quickstart" / "found-069247bc.json"
MEASURED = "SearchConfig.latency_methods=('measured',)"


def machine() -> Recorded:
    """A machine on which every architecture of the tiny space takes longer the more layers it has."""
    config = load_run_config([str(TINY)]).required_search()
    encoders = [decode(config.space, point) for point in enumerate_points(config.space)]
    seconds = {candidate_key(e): 1e-3 * e.num_hidden_layers + 1e-6 * i for i, e in enumerate(encoders)}
    return Recorded(MeasuredSearch(chip="some laptop", runtime="xla", threads=2, protocol_version=4, seconds=seconds))


def test_a_record_has_the_architectures_without_a_latency() -> None:
    config = load_run_config([str(TINY)]).required_search()
    one, two, three = [decode(config.space, point) for point in enumerate_points(config.space)][:3]
    known = {candidate_key(one): 1e-3}
    told = {candidate_key(two): "cannot be exported"}
    measured = machine().measured.model_copy(update={"seconds": known, "without": told})
    described = description(Recorded(measured))
    assert described["seconds"] == known and described["without"] == told
    again = Recorded(MeasuredSearch.model_validate(described))
    assert again([two, one, two]) == ["cannot be exported", 1e-3, "cannot be exported"]
    with pytest.raises(StageError, match=f"expected the latency of {candidate_key(three)}, which is proposed"):
        again([three])
    # A search in which all have one is written as before.
    assert "without" not in description(machine())


def test_the_gin_file_of_my_laptop_changes_the_method_alone() -> None:
    laptop, quickstart = load_run_config([str(LAPTOP)]), load_run_config([str(REPOSITORY / "gin" / "quickstart.gin")])
    assert laptop.required_search().measures_latency
    assert laptop == load_run_config([str(REPOSITORY / "gin" / "quickstart.gin")], [MEASURED]) != quickstart
    short = protocol(laptop)
    assert (short.processes, short.pairs, short.batch_sizes, short.sequence_lengths) == (3, 20, (1,), (96,))
    # Laxer limits of a refusal change no latency.
    laxer = load_run_config([str(LAPTOP)], ["LatencyConfig.max_noise_floor=5.0"])
    assert protocol_fingerprint(laxer) == protocol_fingerprint(laptop)
    assert protocol_fingerprint(load_run_config([str(LAPTOP)], ["SearchConfig.batch_size=2"])) != protocol_fingerprint(
        laptop
    )


def test_a_stage_searches_by_the_latencies_of_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_run_config([str(TINY)], [MEASURED, "SearchConfig.algorithm='random'"])
    lines: list[str] = []
    run = Run(config, tmp_path, lines.append)
    write_json(tmp_path / "teacher" / "stage.json", {"fingerprint": fingerprint(0), "result": {}, "seconds": 0.0})

    def evaluate(self: Any, job: dict[str, Any]) -> dict[str, float]:
        layers = float(job["encoder"]["num_hidden_layers"])
        return {"accuracy": 10.0 * layers, "accuracy_stderr": 1.0, "loss": 1.0, "steps": 5, "compile_seconds": 0.1}

    monkeypatch.setattr(search.FlashDistillation, "__call__", evaluate)
    source = machine()
    marker = search.search_stage(run, source)
    assert lines[0] == "search: latency is measured: some laptop, 2 threads, xla; batch 1, length 32"
    assert MeasuredSearch(**marker["result"]["measured"]) == source.measured
    written = read_json(tmp_path / "search" / "history.json")
    assert written["objectives"]["latency"]["method"] == "measured"
    assert written["objectives"]["latency"]["chip"] == "some laptop, 2 threads, xla"
    assert {row["latency_s"] for row in written["trials"]} <= set(source.measured.seconds.values())
    journal = [json.loads(line) for line in (tmp_path / "search" / "journal.jsonl").read_text().splitlines()]
    ends = [entry["result"] for entry in journal if entry["event"] == "completed"]
    assert len(ends) == 3
    assert {(r["latency_method"], r["latency_machine"]) for r in ends} == {("measured", "some laptop, 2 threads, xla")}
    # Done once: the source is asked for nothing.
    monkeypatch.setattr(search_latency, "measuring", lambda run: pytest.fail("measured again"))
    assert search.search_stage(run)["reused"]


def test_recorded_latencies_answer_for_their_architectures_alone() -> None:
    config = load_run_config([str(TINY)], [MEASURED]).required_search()
    source = machine()
    encoders = [decode(config.space, point) for point in enumerate_points(config.space)]
    known = measured_latency(config, source, lambda line: None)
    found = [one.latency_s for one in known.exact(encoders) if isinstance(one, Estimate)]
    assert found == list(source.measured.seconds.values())
    with pytest.raises(StageError, match="search.measured: expected the latency of"):
        source([load_run_config([str(TINY)]).latency.reference])
    refusing = measured_latency(config, _Refusing(source.measured), lambda line: None)
    assert refusing.exact(encoders[:1]) == [LatencyFailure("no graph")]
    assert MeasuredSearch(**description(source)) == source.measured


class _Refusing(Recorded):
    def __call__(self, encoders: Any) -> list[float | str]:
        return ["no graph" for _ in encoders]


def test_records_of_other_searches_stay_as_they_are() -> None:
    excerpt = json.loads(FOUND.read_text(encoding="utf-8"))["search"]
    assert SearchExcerpt(**excerpt).model_dump(mode="json").keys() == {"trials"}
    measured = SearchExcerpt(**excerpt, measured=machine().measured)
    assert SearchExcerpt(**json.loads(measured.model_dump_json())) == measured


def test_a_measured_search_without_its_latencies_cannot_be_run_again(tmp_path: Path) -> None:
    record = json.loads(FOUND.read_text(encoding="utf-8"))
    text = record["provenance"]["gin_text"]
    assert "SearchConfig.latency_methods = ('roofline',)" in text
    record["provenance"]["gin_text"] = text.replace("('roofline',)", "('measured',)")
    path = tmp_path / "record.json"

    def fields(again: bool) -> set[str]:
        path.write_text(json.dumps(record), encoding="utf-8")
        return {field.field for field in contradictions(read_request(path, again))}

    assert "search.measured" in fields(True) and "search.measured" not in fields(False)
    record["search"]["measured"] = machine().measured.model_dump(mode="json")
    assert "search.measured" not in fields(True)
