"""Uncased WordPiece vocabularies: training, loading, and the tokenizer that BERT uses.

Tokenisation is that of BERT (Devlin et al. 2018, arXiv 1810.04805): clean, lower-case, strip accents, split CJK
characters and punctuation, then match the longest pieces greedily. It gives the ids of transformers'
`BertTokenizerFast`, which runs on the same library.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.system.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Rarer characters get no token; BERT's vocabulary has 1,000 characters.
MAX_ALPHABET = 1000
# Raised whenever the trainer's result changes, because trained vocabularies are cached by a digest of their input.
TRAINER_VERSION = 1
# Plane 15 of Unicode is for private use: no text that BERT's cleaning has passed holds its characters.
_PRIVATE_USE = 0xF0000
_MIN_PAIR_COUNT = 2


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """A vocabulary file, with its size, digest and special ids."""

    # The file, one token per line, a token's id being its line (from 0).
    path: Path
    # The number of tokens.
    size: int
    # Sha256 of the file's bytes, 64 hexadecimal digits.
    digest: str
    pad_id: int
    unk_id: int
    cls_id: int
    sep_id: int
    mask_id: int


def load(path: Path | str) -> Vocabulary:
    """Reads and checks a vocabulary file.

    Args:
        path: a `vocab.txt`.

    Returns:
        Its description.

    Raises:
        DataError: if the file is missing, is no UTF-8 text, repeats a token or lacks a special one.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "vocab.txt"
    if not path.is_file():
        raise DataError(f"vocabulary {path} is missing: a text file with one WordPiece token per line is expected")
    content = path.read_bytes()
    tokens = _tokens(content, path)
    ids = {token: index for index, token in enumerate(tokens)}
    if len(ids) != len(tokens):
        token, count = Counter(tokens).most_common(1)[0]
        raise DataError(f"vocabulary {path}: token '{token}' occurs {count} times; every line must be a new token")
    if missing := [token for token in SPECIAL_TOKENS if token not in ids]:
        raise DataError(f"vocabulary {path}: no {', '.join(missing)}; {', '.join(SPECIAL_TOKENS)} are expected")
    special_ids = {f"{token.strip('[]').lower()}_id": ids[token] for token in SPECIAL_TOKENS}
    return Vocabulary(path=path, size=len(tokens), digest=hashlib.sha256(content).hexdigest(), **special_ids)


def read_tokens(path: Path | str) -> list[str]:
    """Reads the tokens of a vocabulary file.

    Args:
        path: a `vocab.txt`.

    Returns:
        The tokens, a token's id being its place.

    Raises:
        DataError: as `load`.
    """
    path = load(path).path
    return _tokens(path.read_bytes(), path)


def tokenizer(vocabulary: Vocabulary | Path | str) -> Tokenizer:
    """Builds the tokenizer of a vocabulary.

    Args:
        vocabulary: a vocabulary or the path of its file.

    Returns:
        A `tokenizers.Tokenizer`; `encode(text, add_special_tokens=False)` gives `ids` and `offsets` (pairs of character
        positions in the original text). The special tokens, written out in a text, are recognised as in BERT.
    """
    from tokenizers import Tokenizer, models

    path = vocabulary.path if isinstance(vocabulary, Vocabulary) else load(vocabulary).path
    ids = {token: index for index, token in enumerate(_tokens(path.read_bytes(), path))}
    result = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    _set_bert_rules(result)
    result.add_special_tokens(list(SPECIAL_TOKENS))
    return result


def write(tokens: Iterable[str], path: Path) -> None:
    """Writes a vocabulary file.

    Args:
        tokens: the tokens in the order of their ids.
        path: the file to write.
    """
    path.write_bytes("".join(f"{token}\n" for token in tokens).encode())


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


def _tokens(content: bytes, path: Path) -> list[str]:
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"vocabulary {path}: byte {error.start} is not UTF-8") from error
    if lines and not lines[-1]:
        lines.pop()
    return [line.rstrip("\r") for line in lines]
