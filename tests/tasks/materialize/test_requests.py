"""Requests that cannot be served are refused in one line."""

import dataclasses

import pytest

from tasks.materialize.steps import materialize
from tasks.system.errors import DataError
from tests.tasks.materialize.official import TEXT, make_request


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ("glue_rte_v1",)}, r"RTE/train\.tsv .* is missing: it should hold the train split of RTE"),
        ({"pretrain_corpora": ("pretrain/none.txt", "pretrain/a.txt")}, r"none\.txt is missing"),
        ({"vocabulary": "vocab.txt"}, "vocabulary .*vocab.txt is missing"),
        ({"vocabulary_size": 9}, "vocabulary_size is 9; these texts need at least"),
        ({"validation_rows": 100_000}, "more than validation_rows"),
    ],
)
def test_unusable_requests(root, tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        materialize(make_request(root, **changes), tmp_path)
    assert not (tmp_path / "data.json").exists()


def test_sentence_pairs_need_documents(root, tmp_path):
    request = make_request(root, sentence_pairs=True, tasks=(), pretrain_corpora=("plain.txt",), pretrain_rates=(1.0,))
    request = dataclasses.replace(request, directory=str(tmp_path))
    (tmp_path / "plain.txt").write_text(TEXT)
    with pytest.raises(DataError, match=r"plain\.txt: one document; sentence pairs need at least two"):
        materialize(request, tmp_path / "output")
