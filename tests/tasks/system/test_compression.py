"""Compressed files, read wherever a text is."""

import bz2
import gzip
import lzma

import pytest

from tasks.files.text_files import content_digest, read_lines, sha256_file
from tasks.system.compression import COMPRESSIONS, existing_file, read_content
from tasks.system.errors import DataError

PACK = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}
TEXT = "\ufeffOne\r\ntwo — three".encode()


def test_every_compression_has_a_case():
    assert tuple(PACK) == ("", *COMPRESSIONS)


@pytest.mark.parametrize("ending", PACK)
def test_content(tmp_path, ending):
    (tmp_path / "plain").write_bytes(TEXT)
    path = tmp_path / f"text{ending}"
    path.write_bytes(PACK[ending](TEXT))
    assert list(read_lines(path)) == ["One", "two — three"]
    assert read_content(path) == TEXT[3:]
    assert content_digest(path) == (sha256_file(tmp_path / "plain"), len(TEXT))
    assert existing_file(tmp_path / "text") == path


def test_plain_files_come_first(tmp_path):
    assert existing_file(tmp_path / "text") is None
    (tmp_path / "text").mkdir()
    (tmp_path / "text.bz2").touch()
    assert existing_file(tmp_path / "text") == tmp_path / "text.bz2"
    (tmp_path / "text").rmdir()
    (tmp_path / "text").touch()
    assert existing_file(tmp_path / "text") == tmp_path / "text"


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_damaged_archives_are_one_line(tmp_path, ending):
    path = tmp_path / f"text{ending}"
    for content in (PACK[ending](TEXT * 100)[:-20], TEXT):
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"text{ending}: damaged or wrongly named archive"):
            list(read_lines(path))


def test_an_error_of_the_system_is_no_damage(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_content(tmp_path / "none.bz2")
