"""Everything that decides the token ids of a text, and the tokenizer that is built of it.

Two algorithms: WordPiece as in BERT (Devlin et al. 2018, arXiv 1810.04805) and byte-level BPE as in RoBERTa (Liu et
al. 2019, arXiv 1907.11692). The work is done by Hugging Face's `tokenizers`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

WORDPIECE, BYTE_LEVEL_BPE = "wordpiece", "byte_level_bpe"
# The first token of a word after a space, in the alphabet that byte-level BPE writes bytes in.
SPACE_MARK = "Ġ"
# Longer words become [UNK], in every published WordPiece tokenizer.
MAX_WORD_CHARACTERS = 100

# No text holds these, whatever the vocabulary they stand in: MPNet's has BERT's names beside its own. BERT and RoBERTa
# fill their tables up with `[unusedN]` and `madeupwordNNNN`.
_NEVER_TEXT = re.compile(r"\[(PAD|UNK|CLS|SEP|MASK|unused\d+)\]|</?s>|<(pad|unk|mask)>|madeupword\d{4}")


@dataclass(frozen=True, kw_only=True)
class SpecialNames:
    """The tokens with a role."""

    pad: str = "[PAD]"
    unk: str = "[UNK]"
    cls: str = "[CLS]"
    sep: str = "[SEP]"
    mask: str = "[MASK]"


BERT_NAMES = SpecialNames()
ROBERTA_NAMES = SpecialNames(pad="<pad>", unk="<unk>", cls="<s>", sep="</s>", mask="<mask>")
MPNET_NAMES = dataclasses.replace(ROBERTA_NAMES, unk="[UNK]")


@dataclass(frozen=True, kw_only=True)
class Added:
    """A token that is recognised whole where a text holds it; the flags are those of `tokenizers.AddedToken`."""

    content: str
    special: bool = True
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False

    def __post_init__(self) -> None:
        """Refuses what is no token, as a call with the wrong members is refused."""
        if not isinstance(self.content, str) or not self.content:
            raise TypeError(f"content of an added token is {self.content!r}")
        flags = {name: value for name, value in vars(self).items() if name != "content"}
        if wrong := [name for name, value in flags.items() if not isinstance(value, bool)]:
            raise TypeError(f"{wrong[0]} of '{self.content}' is {flags[wrong[0]]!r}")

    def token(self) -> AddedToken:
        """Makes the token of `tokenizers`."""
        from tokenizers import AddedToken

        return AddedToken(**dataclasses.asdict(self))


@dataclass(frozen=True, kw_only=True)
class TokenizerSettings:
    """What a tokenizer is made of; equal settings give equal ids."""

    # `wordpiece` or `byte_level_bpe`.
    algorithm: str = WORDPIECE
    # All tokens, a token's id being its place.
    tokens: tuple[str, ...]
    # The number of tokens that the algorithm itself knows; the rest are added ones.
    num_model_tokens: int
    # Of byte-level BPE, most frequent first.
    merges: tuple[tuple[str, str], ...] = ()
    # Of WordPiece.
    do_lower_case: bool = True
    # None: as `do_lower_case`.
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool = True
    # Of byte-level BPE: a text begins with a space.
    add_prefix_space: bool = False
    special: SpecialNames = BERT_NAMES
    # In the order of their ids.
    added: tuple[Added, ...]
    # Separators between the parts of a pair: 1 in BERT, 2 in RoBERTa and MPNet.
    pair_separators: int = 1
    # Token type of the second part: 1 in BERT, 0 in RoBERTa and MPNet, which have no token types.
    second_type_id: int = 1

    def is_plain(self) -> bool:
        """Tells whether these are the settings of uncased BERT, which a `vocab.txt` alone stands for."""
        return self.special == BERT_NAMES and self == plain_settings(self.tokens)

    def digest(self) -> str:
        """Digests everything that decides ids; 64 hexadecimal digits.

        For uncased BERT this is the sha256 of its `vocab.txt`, one token per line.
        """
        if self.is_plain():
            return hashlib.sha256(vocabulary_text(self.tokens).encode()).hexdigest()
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()

    def text_ranges(self) -> tuple[tuple[int, int], ...]:
        """Lists the ids of tokens that a text may hold: all but special and unused ones.

        Returns:
            First and past-the-end id of each run, ascending.
        """
        special = {token.content for token in self.added if token.special} | set(dataclasses.astuple(self.special))
        runs = groupby(
            enumerate(self.tokens), lambda entry: entry[1] not in special and not _NEVER_TEXT.fullmatch(entry[1])
        )
        ranges = []
        for is_text, run in runs:
            ids = [index for index, _ in run]
            if is_text:
                ranges.append((ids[0], ids[-1] + 1))
        return tuple(ranges)


def plain_settings(tokens: tuple[str, ...]) -> TokenizerSettings:
    """Makes the settings of uncased BERT with these tokens, BERT's special ones among them."""
    names = sorted(dataclasses.astuple(BERT_NAMES), key=tokens.index)
    added = tuple(Added(content=name) for name in names)
    return TokenizerSettings(tokens=tokens, num_model_tokens=len(tokens), added=added)


def vocabulary_text(tokens: Sequence[str]) -> str:
    """Writes tokens as a `vocab.txt` has them, one per line."""
    return "".join(f"{token}\n" for token in tokens)


def build(settings: TokenizerSettings) -> Tokenizer:
    """Builds a tokenizer.

    Returns:
        A `tokenizers.Tokenizer` without truncation and padding. Offsets leave out the spaces that byte-level BPE keeps
        in tokens, so that answers can be cut from the text.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    model_ids = {token: index for index, token in enumerate(settings.tokens[: settings.num_model_tokens])}
    names = settings.special
    if settings.algorithm == WORDPIECE:
        tokenizer = Tokenizer(
            models.WordPiece(model_ids, unk_token=names.unk, max_input_chars_per_word=MAX_WORD_CHARACTERS)
        )
        tokenizer.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=settings.tokenize_chinese_chars,
            strip_accents=settings.strip_accents,
            lowercase=settings.do_lower_case,
        )
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece(prefix="##")
    else:
        tokenizer = Tokenizer(models.BPE(model_ids, list(settings.merges), fuse_unk=False))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=settings.add_prefix_space)
        tokenizer.decoder = decoders.ByteLevel()
    for added in settings.added:
        add = tokenizer.add_special_tokens if added.special else tokenizer.add_tokens
        add([added.token()])
    cls, sep = ((name, settings.tokens.index(name)) for name in (names.cls, names.sep))
    if (settings.pair_separators, settings.second_type_id) == (2, 0):
        tokenizer.post_processor = processors.RobertaProcessing(
            sep, cls, trim_offsets=True, add_prefix_space=settings.add_prefix_space
        )
        return tokenizer
    second = settings.second_type_id
    middle = " ".join([f"{names.sep}:0"] * settings.pair_separators)
    template = processors.TemplateProcessing(
        single=f"{names.cls}:0 $A:0 {names.sep}:0",
        pair=f"{names.cls}:0 $A:0 {middle} $B:{second} {names.sep}:{second}",
        special_tokens=[cls, sep],
    )
    if settings.algorithm == WORDPIECE:
        tokenizer.post_processor = template
    else:
        trim = processors.ByteLevel(trim_offsets=True, add_prefix_space=settings.add_prefix_space)
        tokenizer.post_processor = processors.Sequence([trim, template])
    return tokenizer
