"""The cache through the command line: another folder trains no teacher again and ends with the same records."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.tiny_run import results, start


def test_a_run_with_a_cache_ends_with_the_records_of_one_without(complete: tuple[Path, str], tmp_path: Path) -> None:
    flag = f"--cache_dir={tmp_path / 'cache'}"
    process = start(tmp_path / "first", flag, "--stages=data,teacher")
    first, _ = process.communicate(timeout=600)
    assert process.returncode == 0, first
    process = start(tmp_path / "second", flag)
    second, _ = process.communicate(timeout=600)
    assert process.returncode == 0, second
    assert "from the cache" not in first and "teacher: taken from the cache" in second
    assert "reused: teacher\n" in second
    # Everything that is no measurement of this machine is equal, bit for bit.
    undisturbed, _ = complete
    assert results(tmp_path / "second") == results(undisturbed)
    # The times are those of the work, whoever did it.
    markers = [json.loads((tmp_path / name / "teacher" / "stage.json").read_text()) for name in ("first", "second")]
    assert markers[0] == markers[1]
    seconds = [json.loads((tmp_path / n / "data" / "stage.json").read_text())["seconds"] for n in ("first", "second")]
    assert seconds[1] > 0.5 * seconds[0]
