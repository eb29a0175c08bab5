"""The data stage counts contamination once, and keeps the numbers in `data.json`."""

import json

import pytest

from tasks.contamination.texts import METHOD
from tasks.materialize import build_contamination
from tasks.materialize.steps import materialize
from tests.tasks.materialize.official import make_request, write_root

SENTENCE = "The good film is here and the bad one is there."


def counts(data, task):
    return {name: value for name, value in data["contamination"][task].items() if name not in ("file", "method")}


def test_every_task_has_its_counts(made):
    output, data, lines = made
    assert set(data["contamination"]) == set(data["tasks"])
    for entry in data["contamination"].values():
        assert entry["method"] == METHOD
        assert json.loads((output / entry["file"]).read_text()) == {k: v for k, v in entry.items() if k != "file"}
    # 10 sentences of 8 kinds, all in the training file; none has 8 words.
    sst2 = {"examples": 10, "same_example": 10, "any_text": 10, "long_sentence": 0, "in_pretraining": 0}
    assert counts(data, "glue_sst2_v1") == sst2
    assert any(line.startswith("contamination: 3 evaluated splits compared with ") for line in lines)


def test_what_is_there_is_not_counted_again(made, root, copy, monkeypatch):
    monkeypatch.setattr(build_contamination, "Evaluated", None)
    lines = []
    data = materialize(make_request(root), copy, lines.append)
    assert data["contamination"] == made[1]["contamination"]
    assert not any("contamination" in line for line in lines)


def test_damaged_and_needless_counts(made, root, copy):
    entry = made[1]["contamination"]["squad_v1_1_v1"]
    (copy / entry["file"]).write_text("{")
    assert materialize(make_request(root), copy)["contamination"] == made[1]["contamination"]
    materialize(make_request(root, tasks=("glue_sst2_v1",)), copy)
    assert [path.name for path in copy.glob("contamination-*")] == [made[1]["contamination"]["glue_sst2_v1"]["file"]]


@pytest.fixture
def planted(tmp_path):
    """Files in which one evaluated sentence stands in the pretraining text and one in a part of the training file."""
    root = tmp_path / "root"
    write_root(root)
    folder = root / "glue" / "SST-2"
    rows = [SENTENCE, "Another sentence of eight words that nobody trained on.", "the short film"]
    (folder / "dev.tsv").write_text("sentence\tlabel\n" + "".join(f"{row}\t1\n" for row in rows))
    (folder / "train.tsv").write_text("sentence\tlabel\nnothing of this\t1\n")
    (folder / "train.part.tsv").write_text("sentence\tlabel\nThe SHORT film .\t1\nmore\t0\n")
    with (root / "pretrain" / "b.txt").open("a") as file:
        file.write(f'<doc id="99" title="T">\nT\n\nThis comes before. {SENTENCE.upper()} The short film.\n</doc>\n')
    return root


def test_planted_sentences_are_found(planted, tmp_path):
    request = make_request(planted, tasks=("glue_sst2_v1",))
    found = counts(materialize(request, tmp_path / "whole"), "glue_sst2_v1")
    assert found == {"examples": 3, "same_example": 0, "any_text": 0, "long_sentence": 2, "in_pretraining": 1}
    part = make_request(planted, tasks=("glue_sst2_v1",), train_files={"glue_sst2_v1": "train.part.tsv"})
    data = materialize(part, tmp_path / "part")
    found = counts(data, "glue_sst2_v1")
    assert found == {"examples": 3, "same_example": 1, "any_text": 1, "long_sentence": 2, "in_pretraining": 1}
    assert [*data["task_sources"]["glue_sst2_v1"]["train"]["files"]] == ["glue/SST-2/train.part.tsv"]
    assert "glue/SST-2/train.part.tsv: 2 examples, 67,349 are official" in data["warnings"]
    assert "glue/SST-2/train.tsv" not in data["source_files"]


def test_without_text_there_is_nothing_to_compare_with(planted, tmp_path):
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text("".join(f"{token}\n" for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the")))
    request = make_request(
        planted,
        tasks=("glue_sst2_v1",),
        pretrain_corpora=(),
        pretrain_rates=(),
        vocabulary=str(vocabulary),
        vocabulary_size=6,
    )
    assert counts(materialize(request, tmp_path / "out"), "glue_sst2_v1")["in_pretraining"] is None
