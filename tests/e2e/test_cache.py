"""The cache through the command line: another folder makes no data and trains no teacher again.

What follows from them is compared in `test_measured_search`, whose run takes them from the same cache.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.tiny_run import finish


def test_data_and_teacher_of_another_folder_are_taken_over(
    complete: tuple[Path, str], filled_cache: str, tmp_path: Path
) -> None:
    first, output = complete
    assert "from the cache" not in output
    second = tmp_path / "second"
    output = finish(second, filled_cache, "--stages=data,teacher")
    assert "teacher: taken from the cache" in output and "reused: teacher\n" in output
    # To the last bit, arrays and parameters.
    arrays = [path for path in (first / "data").rglob("*") if path.is_file() and path.suffix != ".json"]
    parameters = [path for path in (first / "teacher" / "params").rglob("*") if path.is_file()]
    assert len(arrays) > 20 and parameters
    for path in (*arrays, *parameters):
        assert (second / path.relative_to(first)).read_bytes() == path.read_bytes(), path
    # The times are those of the work, whoever did it.
    markers = [json.loads((folder / "teacher" / "stage.json").read_text()) for folder in (first, second)]
    assert markers[0] == markers[1]
    seconds = [json.loads((folder / "data" / "stage.json").read_text())["seconds"] for folder in (first, second)]
    assert seconds[1] > 0.5 * seconds[0]
