"""TensorFlow Datasets give the examples that the official files give."""

import shutil

import pytest

from tasks import sources
from tasks.catalogue import TASKS, get_task
from tasks.sources import tfds
from tasks.sources.conventions import hub_task
from tasks.system.errors import DataError
from tests.tasks.sources.written import GLUE, official, splits


@pytest.mark.parametrize("name", GLUE)
def test_tfds_glue_gives_the_official_examples(name, world, tfds_root):
    for split in splits(name, world):
        assert list(sources.read_examples("tfds", get_task(name), tfds_root, split)) == official(name, world, split)


@pytest.mark.parametrize("name", ["squad_v1_1_v1", "squad_v2_0_v1"])
def test_tfds_squad_gives_the_official_examples_by_id(name, world, tfds_root):
    for split in splits(name, world):
        expected = sorted(official(name, world, split), key=lambda example: example["id"])
        for number, example in enumerate(expected):
            example["idx"] = number
        assert list(sources.read_examples("tfds", get_task(name), tfds_root, split)) == expected


def test_tfds_stores_another_order_than_the_file(tfds_root):
    """The order in TFDS differs, so that the test above depends on the sorting by `idx`."""
    stored = [row["idx"] for row in tfds.read_rows(tfds_root, "glue/mnli:2.0.0", "train")]
    assert stored != sorted(stored)
    assert sorted(stored) == list(range(len(stored)))
    assert [row["idx"] for row in tfds.read_rows(tfds_root, "glue/mrpc:2.0.0", "train")] != stored


def test_hub_tasks_cover_the_catalogue(tfds_library):
    """Label names and splits are those that TFDS declares."""
    assert [name for name, info in TASKS.items() if info.hub is None] == []
    for name, task in ((name, hub_task(info)) for name, info in TASKS.items() if info.hub is not None):
        builder = tfds_library.builder(task.tfds.partition(":")[0])
        assert str(builder.version) == task.tfds.partition(":")[2]
        assert set(task.columns()) <= set(builder.info.features)
        if name.startswith("glue") and task.classes:
            assert tuple(builder.info.features["label"].names) == task.classes


@pytest.mark.parametrize("name", ["squad/v1.1:3.0.0", "no_such_set/a:1.0.0"])
def test_tfds_data_that_cannot_be_had(tmp_path, name, tfds_library, no_network):
    with pytest.raises(DataError) as caught:
        tfds.prepare(tmp_path, name)
    message = str(caught.value)
    assert str(tmp_path / name.replace(":", "/")) in message
    assert f"run: tfds build {name} --data_dir={tmp_path}" in message
    assert "tried now: " in message
    assert len(message) < 700


def test_odd_tfds_names_are_refused(tmp_path):
    for name in ("Wikipedia", "wikipedia/", "wikipedia:1.0", "../glue"):
        with pytest.raises(DataError, match=f"'{name}' names no TFDS data set; expected a form such as wikipedia/"):
            tfds.folder(tmp_path, name)


def test_damaged_tfds_records(tmp_path, tfds_root):
    shutil.copytree(tfds_root / "glue" / "sst2", tmp_path / "glue" / "sst2")
    path = next((tmp_path / "glue" / "sst2" / "2.0.0").glob("glue-train.tfrecord-*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"sst2/2\.0\.0: train: damaged records"):
        list(tfds.read_examples(get_task("glue_sst2_v1"), tmp_path, "train"))
    path.unlink()
    with pytest.raises(DataError, match=r"2\.0\.0/glue-train\.\* is missing: it should hold the train split of SST-2"):
        next(tfds.read_examples(get_task("glue_sst2_v1"), tmp_path, "train"))


def test_latest_version_counts(tmp_path):
    for version in ("1.9.0", "1.10.0", "incomplete.2.0.0"):
        (tmp_path / "wikipedia" / "x.en" / version).mkdir(parents=True)
        (tmp_path / "wikipedia" / "x.en" / version / "dataset_info.json").write_text("{}")
    assert tfds.folder(tmp_path, "wikipedia/x.en").name == "1.10.0"
    assert tfds.folder(tmp_path, "wikipedia/x.en:1.9.0").name == "1.9.0"
    assert tfds.folder(tmp_path, "wikipedia/x.en:2.0.0") is None
