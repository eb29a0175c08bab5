"""`python -m tasks verify-data`: good, unknown, wrong and missing files."""

import gzip
import re

import pytest

from tasks.__main__ import main
from tasks.catalogue import TASKS, get_task
from tasks.files import known_files, verify
from tasks.files.text_files import content_digest

WNLI = "index\tsentence1\tsentence2\tlabel\n" + "".join(f"{index}\ta\tb\t1\n" for index in range(71))


def write(root, relative, text):
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def checked(root, split="validation", task="glue_wnli_v1"):
    return [check for check in verify.check_directory(root) if (check.task, check.split) == (task, split)]


def make_known(monkeypatch, path, name, origin="official"):
    """Adds the content of a file to the known ones, for one test."""
    digest, size = content_digest(path)
    known = known_files.KnownFile(name, digest, size, origin)
    monkeypatch.setattr(verify, "KNOWN_FILES", {digest: known})


def test_right_count_of_unknown_content_is_a_warning(tmp_path, capsys):
    write(tmp_path, "glue/WNLI/dev.tsv", WNLI)
    (check,) = checked(tmp_path)
    assert (check.level, check.rows, check.official_rows, check.digest) == ("warning", 71, 71, "unknown")
    assert "11,261 (copy)" in check.verdict
    assert main(["verify-data", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "WARNING: unknown content" in out
    assert out.splitlines()[-1].startswith("0 good, 1 of unknown content, 0 wrong; ")


@pytest.mark.parametrize("name", ["glue/WNLI/dev.tsv", "glue_data/WNLI/dev.tsv.gz"])
def test_known_content_is_good_however_it_is_packed(tmp_path, monkeypatch, name):
    make_known(monkeypatch, write(tmp_path, name, WNLI), "glue/WNLI/dev.tsv", "copy")
    (check,) = checked(tmp_path)
    assert (check.level, check.digest, check.file, check.verdict) == ("ok", "copy", name, "ok")


def test_a_truncated_file_is_wrong(tmp_path, capsys):
    write(tmp_path, "glue/WNLI/dev.tsv", WNLI[:-9])
    assert main(["verify-data", str(tmp_path)]) == 1
    assert "ERROR: 70 examples, 71 are official" in capsys.readouterr().out


def test_a_file_in_the_place_of_another_is_wrong(tmp_path, monkeypatch):
    make_known(monkeypatch, write(tmp_path, "glue/WNLI/dev.tsv", WNLI), "glue/WNLI/train.tsv")
    (check,) = checked(tmp_path)
    assert check.level == "error"
    assert "this is glue/WNLI/train.tsv, glue/WNLI/dev.tsv is expected" in check.verdict


def test_a_damaged_file_is_wrong_and_the_others_are_checked(tmp_path, capsys):
    write(tmp_path, "WNLI/dev.tsv", WNLI)
    write(tmp_path, "WNLI/train.tsv", "index\tsentence1\tsentence2\tlabel\n0\ta\n")
    path = write(tmp_path, "WNLI/test.tsv.gz", WNLI)
    path.write_bytes(path.read_bytes()[:-9])
    assert main(["verify-data", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "2 columns instead of 4" in out
    assert "damaged or wrongly named archive" in out
    assert out.splitlines()[-1].startswith("0 good, 1 of unknown content, 2 wrong; ")


def test_every_copy_of_a_split_is_checked(tmp_path):
    write(tmp_path, "glue/WNLI/dev.tsv", WNLI)
    write(tmp_path, "glue_data/WNLI/dev.tsv", WNLI[:-9])
    assert [check.level for check in checked(tmp_path)] == ["warning", "error"]


def test_a_vocabulary_is_checked(tmp_path):
    write(tmp_path, "vocab/mine.txt", "[PAD]\n[UNK]\n")
    write(tmp_path, "glue/WNLI/dev.tsv", WNLI)
    (check,) = checked(tmp_path, "-", "vocabulary")
    assert check.level == "error"
    assert "no [CLS]" in check.verdict


def test_folders_without_data_are_refused(tmp_path, capsys):
    for folder in (tmp_path / "none", tmp_path):
        assert main(["verify-data", str(folder)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert str(folder) in captured.err


@pytest.mark.real_data
def test_all_real_files_are_known_and_complete(data_root):
    """Every task file of the data root has its official number of examples and a known digest.

    Samples of a split and files of counts next to it (`train.sample-9999.tsv`, `dev_matched.bert100.tsv`) are no task
    files.
    """
    checks = [check for check in verify.check_directory(data_root) if check.level != "missing"]
    assert {check.level for check in checks} == {"ok"}
    for check in checks:
        if check.task != "vocabulary":
            assert abs(check.rows - check.official_rows) <= get_task(check.task).size_tolerance
    found = {name for check in checks for name in check.file.removesuffix(".gz").replace(".gz ", " ").split(" + ")}
    known = {file.name for file in known_files.KNOWN_FILES.values()}
    on_disk = {
        str(path.relative_to(data_root)).removesuffix(".gz").removesuffix(".xz")
        for info in TASKS.values()
        for path in (data_root / info.directory).glob("*.*")
    }
    beside = re.compile(r"LICENSE|\.sample-|\.extra\.|\.bert100\.")
    assert found - {"vocab/bert-base-uncased.txt"} == {name for name in on_disk if not beside.search(name)}
    assert found <= known
