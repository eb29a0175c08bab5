"""TinyBERT's augmentation of a task's rows with the teacher's masked LM (arXiv 1909.10351, algorithm 1).

Each copy of a row replaces every word, with a fixed probability, by one that the masked LM expects in its place. Rows
are token arrays: nothing is tokenised, lengths, token types and labels stay. Differences from the released program
(`data_augmentation.py`):

- Words of several pieces stay; the program takes their neighbours in GloVe, which is no part of this project.
- The masked LM reads the row with the word masked; the program adds the sentence without mask as a second text.
- A copy of a pair may have words replaced in both texts; the program writes copies of one text next to the other's last
  copy. A copy that equals another one is kept, so that each row has the same number of copies.
- The program's stop words are those of NLTK; here they are English function words, as whole words of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from benchmark.models.heads import MaskedLM
from benchmark.training.padding import attention_mask
from tasks.arrays import token_arrays
from tasks.arrays.write import array_directory
from tasks.encoding import vocabulary
from tasks.encoding.tokenizer_settings import BYTE_LEVEL_BPE, SPACE_MARK
from tasks.system.atomic_directory import atomic_directory
from tasks.system.folders import remove_folder

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig
    from benchmark.models.trees import Params
    from benchmark.training.masking import SpecialTokens

# Articles and quantifiers; pronouns; auxiliaries; prepositions and conjunctions; adverbs of grammar; pieces that the
# tokenizer leaves of short forms such as "don't" and "we're".
_STOP_WORDS = """
a an the this that these those all any both each every either neither few more most other another some such own
i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
it its itself they them their theirs themselves who whom whose which what
am is are was were be been being have has had having do does did doing can could may might must shall should will would
of at by for with about against between into through during before after above below to from up down in out on off over
under and but if or nor because as until while than so
not no only very too just then once here there when where why how again further now same
s t d m ll re ve don didn doesn isn aren wasn weren hasn haven hadn won wouldn couldn shouldn mustn needn ain
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""English words of the closed classes, which are never replaced, as in TinyBERT."""

_BLOCK_ROWS = 1024
# Keeps the random numbers apart from those of parameters.
_STREAM = 6
_QUERIES = 64

Candidates = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""`(input_ids [n, length], token_type_ids [n, length], places [n]) -> [n, count]`: ids for the masked word at a place
of each row, likeliest first."""


@dataclass(frozen=True)
class Words:
    """Kinds of the tokens of a vocabulary, `[vocabulary]` bool each.

    Attributes:
        inner: pieces that continue a word.
        replaceable: whole words or first pieces of letters that are no stop words.
        written: tokens that may replace a word: all but inner pieces and special tokens.
    """

    inner: np.ndarray
    replaceable: np.ndarray
    written: np.ndarray


def read_words(path: Path) -> Words:
    """Reads a vocabulary.

    In byte-level BPE a word begins with a space, which its first token holds, so that the first word of a text, which
    has none, stays; a token without space that begins with a letter continues a word.

    Raises:
        DataError: a file is missing or is no vocabulary.
    """
    tokens, read = vocabulary.read_tokens(path), vocabulary.load(path)
    text = np.zeros(len(tokens), bool)
    for start, end in read.text_ranges:
        text[start:end] = True
    if read.algorithm == BYTE_LEVEL_BPE:
        first = np.array([token.startswith(SPACE_MARK) for token in tokens])
        inner = ~first & np.array([token[:1].isalpha() for token in tokens]) & text
        words = [token.removeprefix(SPACE_MARK) for token in tokens]
    else:
        inner = np.array([token.startswith("##") for token in tokens])
        first, words = ~inner, tokens
    letters = first & np.array([word.isascii() and word.isalpha() for word in words])
    stops = np.array([word.lower() in STOP_WORDS for word in words])
    return Words(inner, letters & ~stops & text, first & text)


def places(ids: np.ndarray, words: Words) -> np.ndarray:
    """Marks words of one piece that may be replaced, `[rows, length]` bool."""
    continued = np.zeros(ids.shape, bool)
    continued[:, :-1] = words.inner[ids[:, 1:]]
    return words.replaceable[ids] & ~continued


def replaced(
    ids: np.ndarray, candidates: np.ndarray, draws: np.ndarray, choices: np.ndarray, rate: float
) -> np.ndarray:
    """Makes copies of rows with some words replaced.

    Args:
        ids: `[rows, length]`.
        candidates: ids that may replace each place, filled up with -1 at the end; `[rows, length, count]`.
        draws: uniform in [0, 1), `[rows, copies, length]`; a word is replaced where it is below `rate`.
        choices: likewise; each chooses one of the candidates.
        rate: the probability.

    Returns:
        `[rows, copies, length]`; a place without candidates keeps its id.
    """
    counts = (candidates >= 0).sum(axis=-1)[:, None]
    chosen = np.minimum((choices * counts).astype(np.int64), np.maximum(counts - 1, 0))
    others = np.take_along_axis(candidates[:, None], chosen[..., None], axis=-1)[..., 0]
    return np.where((draws < rate) & (counts > 0), others, ids[:, None])


@partial(jax.jit, static_argnums=(0, 5, 6))
def _likeliest(
    encoder: EncoderConfig,
    params: Params,
    ids: jax.Array,
    types: jax.Array,
    place: jax.Array,
    special: SpecialTokens,
    n: int,
) -> jax.Array:
    """Finds the `n` likeliest ids at one place of each row, whose token is masked."""
    mask = attention_mask(ids, special.pad_id)
    masked = ids.at[jnp.arange(len(ids)), place].set(special.mask_id)
    output = MaskedLM(encoder).apply({"params": params}, masked, mask, types, place[:, None])
    return jax.lax.top_k(output.logits[:, 0], n)[1]


def masked_lm_candidates(encoder: EncoderConfig, params: Params, special: SpecialTokens, count: int) -> Candidates:
    """Makes the function that finds the likeliest words of a masked LM.

    Args:
        encoder: architecture.
        params: parameters with masked-LM head; further heads are not read.
        special: ids of the vocabulary.
        count: number of candidates.
    """
    own = {name: params[name] for name in ("encoder", "masked_lm")}

    def candidates(ids: np.ndarray, types: np.ndarray, place: np.ndarray) -> np.ndarray:
        found = []
        for start in range(0, len(ids), _QUERIES):
            # The last batch repeats its last row, so that one compiled shape serves all.
            rows = np.minimum(np.arange(start, start + _QUERIES), len(ids) - 1)
            batch = (jnp.asarray(x[rows], jnp.int32) for x in (ids, types, place))
            found.append(_likeliest(encoder, own, *batch, special, count))
        return np.concatenate([np.asarray(part) for part in found])[: len(ids)]

    return candidates


@dataclass(frozen=True)
class Replacement:
    """Settings of the replacement of words.

    Attributes:
        words: kinds of the tokens of the vocabulary.
        candidates: those of the masked LM.
        copies: copies of each row.
        rate: probability that a word is replaced.
        seed: the seed.
    """

    words: Words
    candidates: Candidates
    copies: int
    rate: float
    seed: int


def augmented_ids(ids: np.ndarray, types: np.ndarray, numbers: np.ndarray, how: Replacement) -> np.ndarray:
    """Makes copies of some rows, a function of the seed, of the rows and of their numbers alone.

    Args:
        ids: `[rows, length]`.
        types: token types, same shape.
        numbers: number of each row in its array, `[rows]`; with the seed it decides the replacements.
        how: candidates, copies, rate and seed.

    Returns:
        `[rows, copies, length]`.
    """
    rows, columns = np.nonzero(places(ids, how.words))
    lists = np.full((*ids.shape, 1), -1, np.int64)
    if len(rows):
        found = how.candidates(ids[rows], types[rows], columns).astype(np.int64)
        kept = how.words.written[found]
        # Ids that may not be written move behind the rest, which keeps its order.
        found = np.take_along_axis(np.where(kept, found, -1), np.argsort(~kept, axis=1, kind="stable"), axis=1)
        lists = np.full((*ids.shape, found.shape[1]), -1, np.int64)
        lists[rows, columns] = found
    shape = (2, how.copies, ids.shape[1])
    streams = [np.random.default_rng((how.seed, _STREAM, int(number))) for number in numbers]
    draws = np.stack([stream.random(shape, np.float32) for stream in streams])
    return replaced(ids, lists, draws[:, 0], draws[:, 1], how.rate).astype(ids.dtype)


def augment(
    rows: token_arrays.TokenArrays,
    directory: Path,
    how: Replacement,
    *,
    length: int,
    progress: Callable[[str], None] = lambda _: None,
    block_rows: int = _BLOCK_ROWS,
) -> token_arrays.TokenArrays:
    """Makes rows with augmented copies, once, and keeps them on disk; a later call resumes an interrupted one.

    Args:
        rows: materialised rows of a task.
        directory: folder of the result; its name must stand for all that it depends on. A complete one is reused.
        how: candidates, copies, rate and seed.
        length: columns that hold anything but padding.
        progress: receives progress lines.
        block_rows: rows that are kept together until all are made.

    Returns:
        `(1 + copies) * rows` rows: each row and then its copies, with all features of the row.
    """
    if token_arrays.is_complete(directory):
        return token_arrays.load(directory)
    parts = directory.with_name(f"{directory.name}.parts")
    starts = range(0, rows.num_rows, block_rows)
    for start in starts:
        part = parts / str(start)
        if part.exists():
            continue
        numbers = np.arange(start, min(start + block_rows, rows.num_rows))
        ids, types = (np.asarray(rows.features[name][numbers]) for name in ("input_ids", "token_type_ids"))
        made = np.repeat(ids[:, None], how.copies, axis=1)
        made[..., :length] = augmented_ids(ids[:, :length], types[:, :length], numbers, how)
        with atomic_directory(part) as folder:
            np.save(folder / "input_ids.npy", made)
        progress(f"augmented {numbers[-1] + 1:,} of {rows.num_rows:,} rows")
    with array_directory(directory, {name: values.dtype for name, values in rows.features.items()}) as writer:
        for batch in _with_copies(rows, parts, starts, block_rows, how.copies):
            writer.append(batch)
    remove_folder(parts, ignore_errors=True)
    return token_arrays.load(directory)


def _with_copies(
    rows: token_arrays.TokenArrays, parts: Path, starts: range, block_rows: int, copies: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yields blocks of rows, each row before its copies."""
    for start in starts:
        numbers = np.arange(start, min(start + block_rows, rows.num_rows))
        batch = {n: np.repeat(np.asarray(v[numbers]), 1 + copies, axis=0) for n, v in rows.features.items()}
        ids = np.asarray(rows.features["input_ids"][numbers])[:, None]
        both = np.concatenate([ids, np.load(parts / str(start) / "input_ids.npy")], axis=1)
        yield batch | {"input_ids": both.reshape(-1, both.shape[-1])}
