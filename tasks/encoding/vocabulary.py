"""Vocabularies: loading, the tokenizer, and the training of an uncased WordPiece vocabulary.

A vocabulary is a `vocab.txt` of uncased BERT or a directory of a Hugging Face tokenizer (`tokenizer_files`). Ids are
those of transformers, which runs on the same library.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.encoding import tokenizer_files
from tasks.encoding.tokenizer_settings import BERT_NAMES, TokenizerSettings, build, vocabulary_text
from tasks.system.compression import existing_file, read_content
from tasks.system.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL_TOKENS = dataclasses.astuple(BERT_NAMES)
# Rarer characters get no token; BERT's vocabulary has 1,000 characters.
MAX_ALPHABET = 1000
# Raised whenever the trainer's result changes, because trained vocabularies are cached by a digest of their input.
TRAINER_VERSION = 1
# Plane 15 of Unicode is for private use: no text that BERT's cleaning has passed holds its characters.
_PRIVATE_USE = 0xF0000
_MIN_PAIR_COUNT = 2


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """A vocabulary, with all that its rows and its masking need."""

    # A `vocab.txt`, a token's id being its line (from 0), or a directory of tokenizer files.
    path: Path
    # The number of tokens.
    size: int
    # Covers everything that decides ids, 64 hexadecimal digits; for uncased BERT the sha256 of its `vocab.txt`.
    digest: str
    pad_id: int
    unk_id: int
    cls_id: int
    sep_id: int
    mask_id: int
    # `wordpiece` or `byte_level_bpe`.
    algorithm: str
    # Settings of WordPiece; False and None in byte-level BPE, which changes no character.
    do_lower_case: bool
    strip_accents: bool | None
    tokenize_chinese_chars: bool
    # Separators between the parts of a pair, and the token type of the second part: 1 and 1 in BERT
    # (`[CLS] a [SEP] b [SEP]`), 2 and 0 in RoBERTa and MPNet (`<s> a </s></s> b </s>`).
    pair_separators: int
    second_type_id: int
    # First and past-the-end id of each run of tokens that text may hold: all but special and unused ones.
    text_ranges: tuple[tuple[int, int], ...]

    @property
    def pair_specials(self) -> int:
        """The number of special tokens in the row of a pair."""
        return 2 + self.pair_separators


def load(path: Path | str) -> Vocabulary:
    """Reads and checks a vocabulary.

    Args:
        path: a `vocab.txt`, plain or compressed, or a directory of a Hugging Face tokenizer. Where there is neither,
            the file of this name with the ending of a compression.

    Returns:
        Its description.

    Raises:
        DataError: if a file is missing or cannot be used, or two files disagree.
    """
    path = _found(Path(path))
    settings = tokenizer_files.read(path)
    ids = {name: settings.tokens.index(token) for name, token in dataclasses.asdict(settings.special).items()}
    return Vocabulary(
        path=path,
        size=len(settings.tokens),
        digest=_digest(path, settings),
        **{f"{name}_id": number for name, number in ids.items()},
        algorithm=settings.algorithm,
        do_lower_case=settings.do_lower_case,
        strip_accents=settings.strip_accents,
        tokenize_chinese_chars=settings.tokenize_chinese_chars,
        pair_separators=settings.pair_separators,
        second_type_id=settings.second_type_id,
        text_ranges=settings.text_ranges(),
    )


def _found(path: Path) -> Path:
    """Finds a vocabulary that may be compressed."""
    return path if path.is_dir() else existing_file(path) or path


def plain_content(path: Path, settings: TokenizerSettings) -> bytes | None:
    """Returns the `vocab.txt` that alone stands for a vocabulary, or None where its settings are not uncased BERT's.

    It is uncompressed and without byte-order mark, so that the same tokens have the same digest.

    Args:
        path: a `vocab.txt` or a directory of tokenizer files.
        settings: what was read from it.
    """
    if not settings.is_plain():
        return None
    file = path / tokenizer_files.WORDS if path.is_dir() else path
    return read_content(file) if file.is_file() else vocabulary_text(settings.tokens).encode()


def _digest(path: Path, settings: TokenizerSettings) -> str:
    content = plain_content(path, settings)
    return settings.digest() if content is None else hashlib.sha256(content).hexdigest()


def read_tokens(path: Path | str) -> list[str]:
    """Reads the tokens of a vocabulary; raises as `load`.

    Returns:
        The tokens, a token's id being its place.
    """
    return list(tokenizer_files.read(_found(Path(path))).tokens)


def tokenizer(vocabulary: Vocabulary | Path | str) -> Tokenizer:
    """Builds the tokenizer of a vocabulary.

    Args:
        vocabulary: a vocabulary or its path.

    Returns:
        A `tokenizers.Tokenizer`; `encode(text, add_special_tokens=False)` gives `ids` and `offsets` (pairs of character
        positions in the original text). The special tokens, written out in a text, are recognised as in transformers.
    """
    path = vocabulary.path if isinstance(vocabulary, Vocabulary) else _found(Path(vocabulary))
    return build(tokenizer_files.read(path))


def write(tokens: Iterable[str], path: Path) -> None:
    """Writes a vocabulary file.

    Args:
        tokens: the tokens in the order of their ids.
        path: the file to write.
    """
    path.write_bytes(vocabulary_text(list(tokens)).encode())


def train_wordpiece(texts: Iterable[str], size: int) -> list[str]:
    r"""Trains a WordPiece vocabulary: byte-pair merges over words whose later characters are marked `##`.

    The result depends on the words and their counts alone, not on threads, process or order of the texts. The
    library's own WordPiece trainer does not have this property: it numbers the `##` characters in the order of a hash
    table with random keys, and those numbers decide between equally frequent pairs. Here the characters inside words
    are written as private-use characters, so that plain byte-pair training, which numbers its alphabet in sorted
    order, does the same work.

    Args:
        texts: any pieces of text.
        size: the number of tokens, special ones included. If the texts do not yield as many, `[unused0]`, `[unused1]`
            and so on (BERT's names) fill the rest, so that a model's table has the size that was asked for.

    Returns:
        The tokens in the order of their ids, special tokens first.

    Raises:
        DataError: if the texts are empty, or have more characters than `size` leaves room for.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    words = count_words(texts)
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in set(word):
            counts[character] += count
    alphabet = {
        character for character, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_ALPHABET]
    }
    words = {word: count for word, count in words.items() if alphabet.issuperset(word)}
    if not words:
        raise DataError("no words to train a vocabulary on: the pretraining texts are empty")
    inner = sorted({character for word in words for character in word[1:]})
    first = sorted({word[0] for word in words})
    if (least := len(first) + len(inner) + len(SPECIAL_TOKENS)) > size:
        raise DataError(f"vocabulary_size is {size}; these texts need at least {least}: a token for every character")
    marks = {character: chr(_PRIVATE_USE + index) for index, character in enumerate(inner)}
    characters = {mark: character for character, mark in marks.items()}

    trainee = Tokenizer(models.BPE())
    trainee.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIAL_TOKENS), min_frequency=_MIN_PAIR_COUNT, show_progress=False
    )
    trainee.train_from_iterator(_marked_words(words, marks), trainer)
    learnt = trainee.get_vocab()
    tokens = list(SPECIAL_TOKENS)
    for token in sorted(learnt, key=learnt.__getitem__):
        plain = "".join(characters.get(character, character) for character in token)
        tokens.append(f"##{plain}" if token[0] in characters else plain)
    tokens.extend(f"[unused{index}]" for index in range(size - len(tokens)))
    return tokens


def count_words(texts: Iterable[str]) -> dict[str, int]:
    """Counts the words after BERT's normalisation and pre-tokenisation.

    Args:
        texts: any pieces of text.

    Returns:
        Word -> number of occurrences.
    """
    from tokenizers import Tokenizer, models

    rules = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    _set_bert_rules(rules)
    # The rules work within white space, so each distinct piece needs them only once.
    pieces: Counter[str] = Counter()
    for text in texts:
        pieces.update(text.split())
    counts: Counter[str] = Counter()
    for piece, count in pieces.items():
        for word, _ in rules.pre_tokenizer.pre_tokenize_str(rules.normalizer.normalize_str(piece)):
            counts[word] += count
    return dict(counts)


def _marked_words(words: dict[str, int], marks: dict[str, str]) -> Iterator[str]:
    """Writes every word as often as it occurs, its later characters marked."""
    for word in sorted(words):
        marked = word[0] + "".join(marks[character] for character in word[1:])
        count = words[word]
        while count > 0:
            yield " ".join([marked] * min(count, 1000))
            count -= 1000


def _set_bert_rules(target: Tokenizer) -> None:
    """Sets the normalisation and pre-tokenisation of uncased BERT."""
    from tokenizers import normalizers, pre_tokenizers

    target.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True
    )
    target.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
