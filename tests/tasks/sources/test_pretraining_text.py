"""Pretraining text from either library is that of the file."""

import pyarrow as pa
import pytest

from tasks.sources import tfds
from tasks.sources.texts import HubCorpus, find_corpus, read_texts
from tasks.system.errors import DataError
from tests.helpers.documents import read_documents
from tests.tasks.sources.written import CORPUS, write_corpus, write_hub


@pytest.mark.parametrize("saved", [False, True])
def test_hugging_face_corpus_gives_the_documents_of_the_file(world, tmp_path, saved):
    write_corpus(world, tmp_path / "wiki" / "20231101.en", saved)
    corpus = find_corpus(tmp_path, "hf:wiki/20231101.en")
    assert list(read_documents(corpus)) == list(read_documents(world / CORPUS))


def test_one_saved_dataset_is_a_corpus(world, tmp_path):
    write_corpus(world, tmp_path / "wiki", saved=True)
    alone = find_corpus(tmp_path, "hf:wiki/train")
    assert list(read_documents(alone)) == list(read_documents(world / CORPUS))


def test_tfds_corpus_gives_the_documents_of_the_file(world, tfds_root):
    read = list(read_documents(find_corpus(tfds_root, "tfds:wikipedia/20230601.en")))
    assert sorted(read) == sorted(read_documents(world / CORPUS))


def test_tfds_books_name_their_text_otherwise(tmp_path, monkeypatch):
    rows = [{"book_text": "One.", "book_title": "A"}, {"book_text": "Two.", "book_title": "B"}]
    monkeypatch.setattr(tfds, "read_rows", lambda root, name, split: iter(rows))
    assert list(read_texts(find_corpus(tmp_path, "tfds:pg19:0.1.1"))) == ["One.", "Two."]
    rows.append({"book_title": "C"})
    with pytest.raises(DataError, match="tfds:pg19:0.1.1 in .*: no feature 'text' of type text, nor 'book_text'"):
        list(read_texts(find_corpus(tmp_path, "tfds:pg19:0.1.1")))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "hf:none",
            r"none/train-00000-of-\*\.parquet .* is missing: it should hold pretraining text in the column 'text'",
        ),
        ("tfds:wikipedia/20230601.en", r"wikipedia/20230601\.en/VERSION/wikipedia-train\.\* is missing"),
        ("hf:titles", "no column 'text'; the columns are title"),
        ("hf:nothing", "hf:nothing in .*: no documents"),
    ],
)
def test_unusable_corpora(tmp_path, entry, message):
    write_hub(tmp_path / "titles", "train", pa.table({"title": ["a"]}), parts=1)
    write_hub(tmp_path / "nothing", "train", pa.table({"text": ["", "\n"]}), parts=1)
    with pytest.raises(DataError, match=message):
        list(read_documents(find_corpus(tmp_path, entry)))


def test_entries_without_a_known_word_are_paths(tmp_path):
    assert find_corpus(tmp_path, "pretrain/a.txt") == tmp_path / "pretrain/a.txt"
    assert find_corpus(tmp_path, "c:odd name.txt") == tmp_path / "c:odd name.txt"
    assert find_corpus(tmp_path, "hf:a:b") == HubCorpus("hf", tmp_path, "a:b")
