"""Data roots of every kind, all with the examples of the same official files.

The TFDS side is prepared by TFDS's own builders of GLUE and SQuAD, which get the files of the microworld in place of a
download; the Hugging Face side is written as the library `datasets` writes it.
"""

import importlib.resources.abc
import importlib.util
import sys
from pathlib import Path

import pytest

from tasks import microworld
from tasks.catalogue import get_task
from tasks.sources.conventions import hub_task
from tests.helpers.documents import read_documents
from tests.tasks.sources.written import CORPUS, NAMES, mrpc_sources, write_corpus, write_hugging_face


@pytest.fixture(scope="package")
def world(tmp_path_factory):
    """The microworld's official files, small, and WNLI, which it lacks."""
    root = tmp_path_factory.mktemp("world")
    microworld.generate(root, scale=0.02)
    (root / "glue" / "WNLI").mkdir()
    for split, columns in {"train": 4, "dev": 4, "test": 3}.items():
        rows = [["index", "sentence1", "sentence2", "label"]]
        rows += [[str(n), f'It "sank", he said {n}.', f"{split} sank.", str(n // 2 % 2)] for n in range(9)]
        text = "".join("\t".join(row[:columns]) + "\n" for row in rows)
        (root / "glue" / "WNLI" / f"{split}.tsv").write_text(text, encoding="utf-8")
    return root


@pytest.fixture(scope="package")
def hub_root(world, tmp_path_factory):
    return write_hugging_face(world, tmp_path_factory.mktemp("hub"), saved=False)


@pytest.fixture(scope="package")
def saved_root(world, tmp_path_factory):
    return write_hugging_face(world, tmp_path_factory.mktemp("saved"), saved=True)


@pytest.fixture(scope="package")
def tfds_library():
    pytest.importorskip("tensorflow_datasets")
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("importlib_resources") is None:
            # TFDS 4.9.10 needs this backport of the standard library to prepare data; the two are interchangeable.
            patch.setitem(sys.modules, "importlib_resources", importlib.resources)
        import tensorflow_datasets

        yield tensorflow_datasets


@pytest.fixture(scope="package")
def tfds_root(world, tfds_library, tmp_path_factory):
    """GLUE and SQuAD, prepared by TFDS's own code, and a Wikipedia of the same documents as the corpus."""
    root = tmp_path_factory.mktemp("tfds")
    mrpc = mrpc_sources(world, tmp_path_factory.mktemp("mrpc"))

    def downloaded(manager, urls):
        if isinstance(urls, str):
            return str(world / "glue")
        return mrpc if "dev_ids" in urls else {key: str(world / "squad" / Path(url).name) for key, url in urls.items()}

    with pytest.MonkeyPatch.context() as patch:
        for method in ("download", "download_and_extract"):
            patch.setattr(tfds_library.download.DownloadManager, method, downloaded)
        tfds_library.disable_progress_bar()
        for name in dict.fromkeys(hub_task(get_task(name)).tfds for name in NAMES):
            tfds_library.builder(name, data_dir=str(root)).download_and_prepare()
    documents = [" ".join(sentences) for sentences in read_documents(world / CORPUS)]
    kind = tfds_library.features.Text()
    tfds_library.dataset_builders.store_as_tfds_dataset(
        name="wikipedia",
        config="20230601.en",
        version="1.0.0",
        features=tfds_library.features.FeaturesDict({"title": kind, "text": kind}),
        split_datasets={"train": [(n, {"title": str(n), "text": text}) for n, text in enumerate(documents)]},
        data_dir=str(root),
    )
    return root


@pytest.fixture(scope="package")
def mixed_root(world, tfds_root, hub_root, tmp_path_factory):
    """TFDS and Hugging Face data sets below one root."""
    root = tmp_path_factory.mktemp("mixed")
    write_corpus(world, root / "wiki", saved=False)
    for origin in (hub_root, tfds_root):
        for path in origin.rglob("*"):
            target = root / path.relative_to(origin)
            if path.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.hardlink_to(path)
    return root


@pytest.fixture
def no_network(monkeypatch):
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
