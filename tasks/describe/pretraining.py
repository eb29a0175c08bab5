"""The description of a pretraining task, with one row of the embedded text as text and as token ids."""

from __future__ import annotations

import json
import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import microworld
from tasks.encoding import preprocessors, vocabulary
from tasks.seqio_tasks import sentence_pairs
from tasks.sources import corpora

if TYPE_CHECKING:
    from tasks.pretraining import PretrainingTask

_CORPUS = "pretrain/microworld/corpus.wikiextractor.txt"
_SCALE = 0.001
_LENGTH = 48
_TRAINED_TOKENS = 400
_SEED = (0,)


def describe_pretraining(task: PretrainingTask) -> str:
    """Describes a pretraining task and shows its first row.

    Returns:
        Lines for a terminal.
    """
    with tempfile.TemporaryDirectory() as folder:
        root, path = Path(folder) / "data", Path(folder) / "vocabulary.txt"
        microworld.generate(root, seed=0, scale=_SCALE)
        parts = list(islice(corpora.read_parts(root / _CORPUS), sentence_pairs.PARTS_PER_BLOCK))
        tokens = vocabulary.train_wordpiece((s for part in parts for s in part.sentences), _TRAINED_TOKENS)
        vocabulary.write(tokens, path)
        loaded, tokenizer = vocabulary.load(path), vocabulary.tokenizer(path)
    if task.sentence_pairs:
        texts, documents = ["\n".join(part.sentences) for part in parts], [part.document for part in parts]
        rows, _ = sentence_pairs.pair_rows(tokenizer, loaded, texts, documents, _LENGTH, _SEED)
    else:
        texts = [" ".join(part.sentences) for part in parts]
        rows = {"input_ids": preprocessors.pack_documents(tokenizer, loaded, texts, _LENGTH)[0]}
    ids = rows["input_ids"][0].tolist()
    while ids[-1] == loaded.pad_id:
        ids.pop()
    lines = [
        f"{task.name}: {task.description} ({task.citation})",
        f"  features: {', '.join(task.features)}",
        "  chosen by: DataConfig.sentence_pairs = " + str(task.sentence_pairs),
        "  masking: by the trainer, differently for every batch; token arrays hold the original ids",
        "",
        f"before: the first document of {_CORPUS} (the embedded data)",
        *(f"  {json.dumps(sentence, ensure_ascii=False)}" for sentence in parts[0].sentences[:4]),
        f"after: rows of {_LENGTH} with a vocabulary of {len(tokens)} tokens, trained on this text; the first of them",
        f"  tokens: {' '.join(tokens[number] for number in ids)}",
        f"  input_ids: {' '.join(map(str, ids))} and {_LENGTH - len(ids)} x {loaded.pad_id}",
    ]
    if task.sentence_pairs:
        label = int(rows["next_sentence_label"][0])
        meaning = "the second part is from another document" if label else "the second part follows the first"
        lines.append(f"  token_type_ids: {' '.join(map(str, rows['token_type_ids'][0].tolist()[: len(ids)]))}")
        lines.append(f"  next_sentence_label: {label} ({meaning})")
    return "\n".join(lines)
