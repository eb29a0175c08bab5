"""Pretraining corpora in the form of a hub: `hf:DIR` and `tfds:NAME` among the entries of `pretrain_corpora`.

`hf:DIR` is a Hugging Face folder, `tfds:NAME` a data set of TensorFlow Datasets, anything else a text file or folder,
which `tasks.sources.corpora` reads. All paths are relative to the data root, which is the TFDS data directory as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.system.errors import DataError

KINDS = ("hf", "tfds")
_SPLIT = "train"
_CONTENT = "pretraining text in the column 'text', one document a row"
# The books of pg19 have another name for it in TFDS.
_TFDS_COLUMNS = ("text", "book_text")


@dataclass(frozen=True)
class HubCorpus:
    """A corpus in a hub's form; its training split is read."""

    # `hf` or `tfds`.
    kind: str
    # The data root.
    root: Path
    # A folder below the root, or a TFDS name such as `wikipedia/20230601.en:1.0.0`.
    name: str

    def __str__(self) -> str:
        """Writes the entry as the gin file has it, with its root."""
        return f"{self.kind}:{self.name} in {self.root}"


def find_corpus(root: Path, entry: str) -> Path | HubCorpus:
    """Interprets an entry of `pretrain_corpora`, without a look at the disk.

    Args:
        root: the data root.
        entry: `hf:DIR`, `tfds:NAME` or a path.

    Returns:
        A corpus of a hub, or the path of text.
    """
    kind, _, name = entry.partition(":")
    return HubCorpus(kind, root, name) if kind in KINDS and name else root / entry


def corpus_files(corpus: HubCorpus) -> list[Path]:
    """Lists the files that decide the content of a corpus.

    Returns:
        The files in the order in which they are read.

    Raises:
        DataError: if there is nothing to read.
    """
    if corpus.kind == "tfds":
        from tasks.sources import tfds

        if files := tfds.split_files(corpus.root, corpus.name, _SPLIT):
            return list(files)
        raise tfds.missing(corpus.root, corpus.name, _SPLIT, _CONTENT)
    from tasks.sources import hugging_face

    folder = corpus.root / corpus.name
    if files := hugging_face.digested_files(folder, _SPLIT):
        return list(files)
    raise hugging_face.missing(folder, _SPLIT, _CONTENT)


def read_texts(corpus: HubCorpus) -> Iterator[str]:
    """Reads a corpus, one text per document.

    Yields:
        The texts, in stored order; titles, which are separate columns, are left out.

    Raises:
        DataError: if there is no such corpus, or it has no column of texts.
    """
    if corpus.kind == "hf":
        from tasks.sources import hugging_face

        folder = corpus.root / corpus.name
        yield from hugging_face.read_texts(folder, _SPLIT, _CONTENT)
        return
    from tasks.sources import tfds

    for row in tfds.read_rows(corpus.root, corpus.name, _SPLIT):
        text = next((row[name] for name in _TFDS_COLUMNS if isinstance(row.get(name), str)), None)
        if text is None:
            raise DataError(
                f"{corpus}: no feature 'text' of type text, nor 'book_text'; the features are {', '.join(row)}"
            )
        yield text
