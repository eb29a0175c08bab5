"""Small Hugging Face tokenizer directories of every kind that the project reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tasks.encoding import vocabulary

TEXTS = [
    "The cats sat on the mats, and the dogs sat on the logs.",
    "A naïve café owner's résumé: 42 pages, 4.2 stars!",
    "unhappily happily Unhappy happy Happiness unhappiness",
    "東京タワー is tall 😀",
] * 3


def _words(size: int = 180) -> list[str]:
    """Trains uncased words, without special and unused tokens."""
    tokens = vocabulary.train_wordpiece(TEXTS, size)[len(vocabulary.SPECIAL_TOKENS) :]
    return [token for token in tokens if not token.startswith("[unused")]


# Capitals and accents, which no uncased vocabulary holds.
_CASED = ["The", "A", "U", "H", "##É", "É", "é", "##é", "ï", "##ï", "na", "Unhappy", "##ñ", "T", "C", "東京"]


def write_words(directory: Path, tokens: list[str], **config: object) -> Path:
    """Writes `vocab.txt` and `tokenizer_config.json`."""
    directory.mkdir(parents=True)
    vocabulary.write(tokens, directory / "vocab.txt")
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory


def uncased(directory: Path) -> Path:
    """BERT, uncased."""
    tokens = [*vocabulary.SPECIAL_TOKENS, *_words(), "[unused0]"]
    return write_words(directory, tokens, tokenizer_class="BertTokenizer", do_lower_case=True)


def cased(directory: Path) -> Path:
    """BERT, cased."""
    tokens = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_CASED, *_words()]
    return write_words(directory, list(dict.fromkeys(tokens)), tokenizer_class="BertTokenizer", do_lower_case=False)


def accented(directory: Path) -> Path:
    """DistilBERT, lower-cased with accents, Chinese characters in words, special tokens last, [PAD] at the very end."""
    special = ["[MASK]", "[SEP]", "[CLS]", "[UNK]", "[PAD]"]
    return write_words(
        directory,
        list(dict.fromkeys([*_words(), *_CASED, *special])),
        tokenizer_class="DistilBertTokenizer",
        do_lower_case=True,
        strip_accents=False,
        tokenize_chinese_chars=False,
    )


def stripped(directory: Path) -> Path:
    """ELECTRA, cased and without accents."""
    tokens = list(dict.fromkeys([*vocabulary.SPECIAL_TOKENS, *_CASED, *_words()]))
    config = {"tokenizer_class": "ElectraTokenizer", "do_lower_case": False, "strip_accents": True}
    return write_words(directory, tokens, **config)


def mpnet(directory: Path) -> Path:
    """MPNet: WordPiece with RoBERTa's special tokens, BERT's left in the vocabulary, <mask> last."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_words()]
    return write_words(directory, [*tokens, "<mask>"], tokenizer_class="MPNetTokenizer", do_lower_case=True)


def roberta(directory: Path) -> Path:
    """RoBERTa: byte-level BPE, <mask> last."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    trainee = Tokenizer(models.BPE())
    trainee.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    trainee.train_from_iterator([f"{text} {text}" for text in TEXTS], trainer)
    directory.mkdir(parents=True)
    trainee.model.save(str(directory))
    path = directory / "vocab.json"
    ids = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(ids | {"madeupword0000": len(ids), "<mask>": len(ids) + 1}), encoding="utf-8")
    mask = {"content": "<mask>", "single_word": False, "lstrip": True, "rstrip": False, "normalized": False}
    (directory / "special_tokens_map.json").write_text(json.dumps({"mask_token": mask}))
    (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "RobertaTokenizer"}))
    return directory


KINDS: dict[str, Callable[[Path], Path]] = {
    function.__name__: function for function in (uncased, cased, accented, stripped, mpnet, roberta)
}
