"""What a record contradicts by itself, before anything is run."""

import json
from pathlib import Path

from benchmark.pipeline.verify import contradictions
from benchmark.pipeline.verify_request import read_request
from tasks.system.repository import REPOSITORY

FOUND = REPOSITORY / "tests" / "data" / "quickstart" / "found-069247bc.json"


def test_a_chosen_point_with_an_unknown_field_is_a_contradiction(tmp_path: Path) -> None:
    assert [f.field for f in contradictions(read_request(FOUND, False)) if f.outcome == "different"] == []
    record = json.loads(FOUND.read_text(encoding="utf-8"))
    for trial in record["search"]["trials"]:
        trial["point"]["nope"] = 3
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    different = {f.field: f for f in contradictions(read_request(path, False)) if f.outcome == "different"}
    assert different["search.choice"].found == "no trial that completed"
