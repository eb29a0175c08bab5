"""The share of unknown tokens in token arrays: a vocabulary of another casing or language makes most words `[UNK]`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.arrays import token_arrays
from tasks.encoding.tokenizer_settings import WORDPIECE
from tasks.materialize import upkeep

if TYPE_CHECKING:
    from tasks.encoding.vocabulary import Vocabulary

LARGEST_SHARE = 0.05
"""Of English Wikipedia, bert-base-uncased's vocabulary leaves less than 0.1 % unknown."""

_ROWS_PER_BLOCK = 65_536


def count(
    output: Path, arrays: Mapping[str, Mapping[str, str]], vocabulary: Vocabulary
) -> dict[str, dict[str, dict[str, int]]]:
    """Counts tokens and unknown tokens; the counts that `data.json` has of the same arrays are taken from there.

    Args:
        output: the folder of the data stage.
        arrays: `pretrain` and the tasks -> split -> name of the folder of its arrays.
        vocabulary: the vocabulary of all of them.

    Returns:
        `pretrain` and the tasks -> split -> `tokens`, which leaves out padding, [CLS] and [SEP], and `unknown`.
    """
    earlier = upkeep.read_index(output) or {}
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for name, splits in arrays.items():
        before = earlier.get("pretrain") if name == "pretrain" else (earlier.get("tasks") or {}).get(name)
        known = (earlier.get("unknown_tokens") or {}).get(name) or {}
        counts[name] = {
            split: known[split]
            if split in known and (before or {}).get(split) == folder
            else _counted(output / folder, vocabulary)
            for split, folder in splits.items()
        }
    return counts


def _counted(directory: Path, vocabulary: Vocabulary) -> dict[str, int]:
    """Counts in one array, a block of rows at a time."""
    ids = token_arrays.load(directory).features["input_ids"]
    no_text = [vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id]
    tokens = unknown = 0
    for start in range(0, len(ids), _ROWS_PER_BLOCK):
        numbers = np.bincount(np.asarray(ids[start : start + _ROWS_PER_BLOCK]).ravel(), minlength=vocabulary.size)
        tokens += int(numbers.sum() - numbers[list(set(no_text))].sum())
        unknown += int(numbers[vocabulary.unk_id])
    return {"tokens": tokens, "unknown": unknown}


def warnings(counts: Mapping[str, Mapping[str, Mapping[str, int]]], given: str, vocabulary: Vocabulary) -> list[str]:
    """Names the pretraining text and the tasks whose share of unknown tokens is above `LARGEST_SHARE`.

    Args:
        counts: as `count` returns them.
        given: the vocabulary as the request has it.
        vocabulary: its settings stand in the lines.

    Returns:
        One line each.
    """
    lines = []
    for name, splits in counts.items():
        tokens, unknown = (sum(split[key] for split in splits.values()) for key in ("tokens", "unknown"))
        if unknown <= LARGEST_SHARE * tokens:
            continue
        settings = ""
        if vocabulary.algorithm == WORDPIECE:
            text = "lower-cased" if vocabulary.do_lower_case else "not lower-cased (do_lower_case is false)"
            settings = f"; the text is {text}, the vocabulary may be of the other casing or of another language"
        lines.append(
            f"{name}: {100 * unknown / tokens:.1f} % of the tokens are unknown to the vocabulary"
            f" '{Path(given).name}'{settings}"
        )
    return lines
