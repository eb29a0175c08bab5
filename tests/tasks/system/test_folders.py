"""Folders that are removed, and links in their places."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.system.folders import empty_cache_folder, remove_folder


def make(folder: Path) -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").touch()
    (folder / "file").touch()
    return folder


@pytest.mark.parametrize("ignore_errors", [False, True])
def test_a_folder_is_removed_and_a_link_alone(tmp_path: Path, ignore_errors: bool) -> None:
    there, link, nowhere = make(tmp_path / "there"), tmp_path / "link", tmp_path / "nowhere"
    link.symlink_to(there)
    nowhere.symlink_to(tmp_path / "nothing")
    for path in (link, nowhere, tmp_path / "missing", make(tmp_path / "folder")):
        remove_folder(path, ignore_errors=ignore_errors)
        assert not path.exists() and not path.is_symlink()
    assert sorted(path.name for path in there.rglob("*")) == ["deep", "file", "file"]


def test_what_cannot_be_removed_is_an_error_unless_it_may_stay(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        remove_folder(tmp_path / "file")
    remove_folder(tmp_path / "file", ignore_errors=True)
    assert (tmp_path / "file").exists()


def test_a_cache_on_another_disk_is_emptied_and_stays_linked(tmp_path: Path) -> None:
    there, link = make(tmp_path / "there"), tmp_path / "link"
    link.symlink_to(there)
    empty_cache_folder(link)
    assert link.is_symlink() and [path.name for path in there.iterdir()] == ["deep"]
    empty_cache_folder(there)
    assert not there.exists()
    empty_cache_folder(link)
