"""The folder of the cache: where it is, when there is none, and sizes."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tasks.system.cache_folder import VARIABLE, cache_folder, folder_flag, prepare, shown_size, size


@pytest.mark.parametrize(
    ("flag", "environment", "expected"),
    [
        ("/a/b", {VARIABLE: "/c", "HOME": "/h"}, "/a/b"),
        (None, {VARIABLE: "/c", "XDG_CACHE_HOME": "/x"}, "/c"),
        (None, {"XDG_CACHE_HOME": "/x"}, "/x/autodistill-bench"),
        (None, {"XDG_CACHE_HOME": "relative"}, "/h/.cache/autodistill-bench"),
        (None, {}, "/h/.cache/autodistill-bench"),
        ("~/b", {}, "/h/b"),
        ("", {VARIABLE: "/c"}, None),
        ("none", {VARIABLE: "/c"}, None),
        (None, {VARIABLE: "none"}, None),
        (None, {VARIABLE: ""}, None),
    ],
)
def test_flag_then_variable_then_home(
    flag: str | None, environment: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/h")
    assert cache_folder(flag, environment) == (None if expected is None else Path(expected))


def test_without_a_home_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    # What `~` is for a user whom the system does not know.
    monkeypatch.setenv("HOME", "~")
    assert cache_folder(None, {}) is None


def test_a_folder_is_made_and_marked_for_programs_that_make_backups(tmp_path: Path) -> None:
    prepare(tmp_path / "deep" / "cache")
    (tag,) = (tmp_path / "deep" / "cache").iterdir()
    assert tag.name == "CACHEDIR.TAG"
    assert tag.read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")
    prepare(tmp_path / "deep" / "cache")
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "deep", Path("/proc/none")):
        with pytest.raises(OSError, match=r"."):
            prepare(folder)


def test_an_address_is_no_folder() -> None:
    assert [folder_flag(text) for text in ("", "none", "a/b")] == ["", "none", "a/b"]
    with pytest.raises(argparse.ArgumentTypeError, match="found the address 'gs://bucket'"):
        folder_flag("gs://bucket")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20GB", 20 * 10**9), ("1.5 mb", 1_500_000), ("0B", 0), ("7KB", 7000), ("2TB", 2 * 10**12)],
)
def test_sizes(text: str, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize("text", ["", "20", "GB", "-1GB", "1e3B", "1 PB", "20GB or so"])
def test_a_size_needs_a_number_and_a_unit(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a number with its unit"):
        size(text)


def test_shown_sizes() -> None:
    counts = (0, 999, 1000, 1_550_000, 20 * 10**9)
    assert [shown_size(count) for count in counts] == ["0 B", "999 B", "1.0 KB", "1.6 MB", "20.0 GB"]
