"""The data stage makes the same arrays of every source."""

import dataclasses
import string
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark.cli import gin_loader
from benchmark.config import ConfigError
from tasks.arrays import token_arrays
from tasks.encoding import vocabulary
from tasks.materialize.steps import materialize
from tasks.system.errors import DataError
from tests.tasks.sources.written import CORPUS, request_for, sst2, write_hub


@pytest.mark.parametrize("source", ["hf", "tfds"])
def test_gin_chooses_source_and_mixture(source):
    config = gin_loader.load(
        ["gin/tracks/small_cpu.gin", "gin/data/wikipedia_and_novels.gin"],
        [f"DataConfig.source='{source}'", "DataConfig.directory='/data'"],
    ).config
    request = config.data.request()
    assert (request.source, request.directory) == (source, "/data")
    assert request.pretrain_rates == (0.8, 0.2)
    assert [Path(entry).parent.name for entry in request.pretrain_corpora] == ["wikipedia-en", "english-novels"]
    with pytest.raises(ConfigError, match=f"folder of the data when source = '{source}'"):
        dataclasses.replace(config.data, directory="")


def test_every_source_gives_the_same_arrays(mixed_root, world, tmp_path):
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    tokens = [*vocabulary.SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary.write(tokens, tmp_path / "vocab.txt")
    same = {"vocabulary": str(tmp_path / "vocab.txt"), "vocabulary_size": len(tokens)}
    one = materialize(request_for("hf", mixed_root, **same), tmp_path / "hf")
    two = materialize(request_for("tfds", mixed_root, **same), tmp_path / "tfds")
    three = materialize(
        request_for("files", world, **same, pretrain_corpora=(CORPUS,), pretrain_rates=(1.0,)), tmp_path / "files"
    )
    for split, folder in three["tasks"]["glue_stsb_v1"].items():
        for name, data in (("hf", one), ("tfds", two)):
            read = token_arrays.load(tmp_path / name / data["tasks"]["glue_stsb_v1"][split]).features
            for feature, values in token_arrays.load(tmp_path / "files" / folder).features.items():
                assert np.array_equal(read[feature], values)
    # Everything that was read is named, and a change of it gives other arrays.
    digested = set(two["source_files"])
    assert {"glue/stsb/2.0.0/dataset_info.json", "glue/stsb/2.0.0/glue-train.tfrecord-00000-of-00001"} <= digested
    assert {"wiki/train-00000-of-00002.parquet", "wikipedia/20230601.en/1.0.0/features.json"} <= digested
    assert any(name.startswith("glue/stsb/") and "2.0.0" not in name for name in one["source_files"])
    assert one["pretrain"] == two["pretrain"]


def test_arrays_follow_the_content_and_are_reused(tmp_path, monkeypatch):
    root = tmp_path / "root"
    for split in ("train", "validation"):
        write_hub(root / "glue" / "sst2", split, sst2(), parts=1)
    (root / "a.txt").write_text("The film is good. The book is bad. " * 400)
    request = request_for(
        "hf", root, tasks=("glue_sst2_v1",), pretrain_corpora=("a.txt",), pretrain_rates=(1.0,), vocabulary_size=40
    )
    first = materialize(request, tmp_path / "out")["tasks"]["glue_sst2_v1"]
    with monkeypatch.context() as patch:
        # Whatever imports it now fails.
        patch.setitem(sys.modules, "tasks.seqio_tasks.registry", None)
        assert materialize(request, tmp_path / "out")["tasks"]["glue_sst2_v1"] == first
    write_hub(root / "glue" / "sst2", "validation", sst2(label=[0, 0]), parts=1)
    second = materialize(request, tmp_path / "out")["tasks"]["glue_sst2_v1"]
    assert second["train"] == first["train"]
    assert second["validation"] != first["validation"]
    (root / "glue" / "sst2" / "train-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match=r"glue/sst2/train-00000-of-\*.* is missing: .* the train split of SST-2"):
        materialize(request, tmp_path / "out")


def test_data_stage_asks_tfds_for_what_is_absent(tmp_path, tfds_library, no_network):
    request = request_for("tfds", tmp_path, pretrain_corpora=("tfds:wikipedia/20230601.en",), pretrain_rates=(1.0,))
    lines = []
    with pytest.raises(DataError, match=r"tfds build wikipedia/20230601\.en --data_dir="):
        materialize(request, tmp_path / "out", lines.append)
    assert lines == [f"tfds: wikipedia/20230601.en is not prepared in {tmp_path}; downloading it"]
