"""The data stage with directories of tokenizers: rows, the kept files, and unknown tokens."""

import json

import numpy as np
import pytest

from tasks.arrays import token_arrays
from tasks.encoding import vocabulary
from tasks.materialize.steps import materialize
from tasks.system.errors import DataError
from tests.helpers.tokenizer_directories import KINDS
from tests.tasks.materialize.official import ADJECTIVES, TEXT, make_request

SMALL = {"pretrain_corpora": ("pretrain/b.txt",), "pretrain_rates": (1.0,), "validation_rows": 4}


@pytest.mark.parametrize("kind", ["cased", "mpnet", "roberta"])
@pytest.mark.parametrize("pairs", [False, True])
def test_rows_equal_transformers(kind, pairs, root, tmp_path):
    from transformers import AutoTokenizer

    given = KINDS[kind](tmp_path / kind)
    theirs = AutoTokenizer.from_pretrained(given)
    request = make_request(
        root,
        vocabulary=str(given),
        vocabulary_size=len(theirs),
        sentence_pairs=pairs,
        pretrain_length=64,
        task_length=40,
        span_length=60,
        **SMALL,
    )
    output = tmp_path / "output"
    data = materialize(request, output)
    kept = output / data["vocabulary"]["path"]
    assert vocabulary.load(kept).digest == vocabulary.load(given).digest == data["vocabulary"]["digest"]
    # A folder outside of the data is named the same on every machine.
    sources = {f"vocabulary/{name}" for name in ("vocab.txt", "vocab.json") if (given / name).exists()}
    assert sources and sources <= data["source_files"].keys()
    examples = [f"the {ADJECTIVES[n % 8]} film" for n in range(20)]
    rows = token_arrays.load(output / data["tasks"]["glue_sst2_v1"]["train"]).features["input_ids"]
    expected = theirs(examples, padding="max_length", max_length=40)["input_ids"]
    assert np.asarray(rows).tolist() == expected
    pretraining = token_arrays.load(output / data["pretrain"]["train"]).features
    special = {theirs.pad_token_id, theirs.cls_token_id, theirs.sep_token_id}
    for row in np.asarray(pretraining["input_ids"])[:20]:
        used = row[row != theirs.pad_token_id]
        assert used[0] == theirs.cls_token_id and used[-1] == theirs.sep_token_id
        # Two separators between the parts of a pair, or one.
        separators = (used == theirs.sep_token_id).sum()
        assert separators == (1 if not pairs else 2 if kind == "cased" else 3)
        if kind == "roberta" and not pairs:
            # Spaces between sentences are kept, so that the text comes back.
            text = theirs.decode([i for i in used if i not in special]).strip()
            assert text in TEXT
    if pairs:
        types = np.asarray(pretraining["token_type_ids"])
        assert types.any() == (kind == "cased")
    again = materialize(request, output)
    assert (again["vocabulary"], again["pretrain"], again["unknown_tokens"]) == (
        data["vocabulary"],
        data["pretrain"],
        data["unknown_tokens"],
    )


def test_a_damaged_folder_is_written_again_and_an_unused_one_removed(root, tmp_path):
    given = KINDS["cased"](tmp_path / "cased")
    request = make_request(
        root, vocabulary=str(given), vocabulary_size=vocabulary.load(given).size, tasks=("glue_sst2_v1",), **SMALL
    )
    output = tmp_path / "output"
    data = materialize(request, output)
    kept = output / data["vocabulary"]["path"]
    (kept / "tokenizer.json").write_text("{}")
    lines = []
    assert materialize(request, output, lines.append)["vocabulary"] == data["vocabulary"]
    assert any("not as it was written" in line for line in lines)
    assert vocabulary.load(kept).digest == data["vocabulary"]["digest"]
    trained = materialize(make_request(root, tasks=("glue_sst2_v1",), **SMALL), output)
    assert trained["vocabulary"]["path"].endswith(".txt")
    assert not kept.exists()


def test_a_directory_of_uncased_bert_is_kept_as_its_file(root, tmp_path):
    given = KINDS["uncased"](tmp_path / "uncased")
    size = vocabulary.load(given).size
    requests = [
        make_request(root, vocabulary=str(path), vocabulary_size=size, tasks=("glue_sst2_v1",), **SMALL)
        for path in (given, given / "vocab.txt")
    ]
    one, two = (materialize(request, tmp_path / f"output{n}") for n, request in enumerate(requests))
    assert (one["vocabulary"], one["tasks"], one["pretrain"]) == (two["vocabulary"], two["tasks"], two["pretrain"])


def test_many_unknown_tokens_are_counted_and_named(root, tmp_path):
    """A cased vocabulary without lower-case letters, by count of its own: every word of small letters is unknown."""
    given = tmp_path / "capitals"
    given.mkdir()
    words = [*vocabulary.SPECIAL_TOKENS, "The", "A", "B", ".", "film", "the", *(f"[unused{n}]" for n in range(60))]
    vocabulary.write(words, given / "vocab.txt")
    (given / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    request = make_request(root, vocabulary=str(given), vocabulary_size=len(words), tasks=("glue_sst2_v1",), **SMALL)
    lines = []
    data = materialize(request, tmp_path / "output", lines.append)
    # "the good film": one of three is unknown in train and validation; "the cat" of test is half unknown.
    assert data["unknown_tokens"]["glue_sst2_v1"] == {
        "train": {"tokens": 60, "unknown": 20},
        "validation": {"tokens": 30, "unknown": 10},
        "test": {"tokens": 10, "unknown": 5},
    }
    (warning,) = [line for line in data["warnings"] if line.startswith("glue_sst2_v1: 35.0 % of the tokens")]
    assert "'capitals'" in warning and "do_lower_case is false" in warning and "other casing" in warning
    assert f"warning: {warning}" in lines
    assert any(line.startswith("pretrain: ") for line in data["warnings"])


def test_a_vocabulary_of_another_size_is_refused(root, tmp_path):
    given = KINDS["mpnet"](tmp_path / "mpnet")
    with pytest.raises(DataError, match=r"mpnet has \d+ tokens; vocabulary_size says 100"):
        materialize(make_request(root, vocabulary=str(given)), tmp_path / "output")
