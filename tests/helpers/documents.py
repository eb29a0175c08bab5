"""Pretraining text by document."""

from collections.abc import Iterator
from pathlib import Path

from tasks.sources.corpora import read_parts
from tasks.sources.texts import HubCorpus


def read_documents(path: Path | str | HubCorpus) -> Iterator[list[str]]:
    """Yields the sentences of each document of a corpus, in file order, joined from its parts."""
    sentences: list[str] = []
    current = 0
    for part in read_parts(path):
        if part.document != current:
            yield sentences
            sentences, current = [], part.document
        sentences.extend(part.sentences)
    yield sentences
