"""The content of `tokenizer.json`, as far as it is WordPiece of BERT or byte-level BPE of RoBERTa."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tasks.encoding.tokenizer_settings import (
    BERT_NAMES,
    BYTE_LEVEL_BPE,
    MAX_WORD_CHARACTERS,
    WORDPIECE,
    Added,
    SpecialNames,
    TokenizerSettings,
)
from tasks.system.errors import DataError

# Separators between the parts of a pair, and the token type of the second.
_BERT_PAIR, _ROBERTA_PAIR = (1, 1), (2, 0)


def parse(path: Path, content: Mapping[str, Any], defaults: SpecialNames) -> tuple[TokenizerSettings, dict[str, str]]:
    """Reads the members that decide ids; truncation and padding are left to the caller's rows.

    Args:
        path: named in errors.
        content: the content of the file.
        defaults: roles that the file does not name.

    Returns:
        Settings with the added tokens of the file, and role -> name of the special tokens that it states.

    Raises:
        DataError: names the member and the value that is not supported.
    """
    try:
        model = content["model"]
        is_bpe = model.get("type", "BPE" if "merges" in model else "WordPiece") == "BPE"
        shape = _byte_level(path, content, model) if is_bpe else _wordpiece(path, content, model)
        model_tokens = tokens_of(path, model["vocab"])
        entries = sorted(content.get("added_tokens") or [], key=lambda entry: entry["id"])
        tokens, added = list(model_tokens), []
        known = set(tokens)
        for entry in entries:
            token = Added(**{name: value for name, value in entry.items() if name != "id"})
            if token.content not in known:
                tokens.append(token.content)
            if not entry["id"] < len(tokens) or tokens[entry["id"]] != token.content:
                refuse(
                    path,
                    "added_tokens",
                    f"'{token.content}' with id {entry['id']}",
                    "the id of the vocabulary or the next",
                )
            added.append(token)
        names = {"unk": model["unk_token"]} if model.get("unk_token") else {}
        separators, second_type, roles = _pair(path, content.get("post_processor"), defaults)
    except (KeyError, TypeError, AttributeError, IndexError, StopIteration) as error:
        raise DataError(f"{path}: is no file of tokenizers ({type(error).__name__}: {error})") from None
    stated = names | roles
    settings = TokenizerSettings(
        tokens=tuple(tokens),
        num_model_tokens=len(model_tokens),
        added=tuple(added),
        special=dataclasses.replace(defaults, **stated),
        pair_separators=separators,
        second_type_id=second_type,
        **shape,
    )
    return settings, stated


def refuse(path: Path, member: str, value: object, expected: str) -> NoReturn:
    """Raises a `DataError` of one line."""
    raise DataError(f"{path}: {member} is {value}; {expected} is expected")


def _require(path: Path, holder: str, values: Mapping[str, Any], expected: Mapping[str, tuple[Any, ...]]) -> None:
    """Refuses a member whose value is none of the accepted ones."""
    for name, accepted in expected.items():
        if values.get(name, accepted[0]) not in accepted:
            refuse(path, f"{holder}.{name}", repr(values[name]), " or ".join(map(repr, accepted)))


def _flag(path: Path, name: str, value: object) -> bool:
    if not isinstance(value, bool):
        refuse(path, name, repr(value), "true or false")
    return value


def _wordpiece(path: Path, content: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """Reads the settings of WordPiece."""
    _require(path, "model", model, {"type": ("WordPiece",), "continuing_subword_prefix": ("##",)})
    _require(path, "model", model, {"max_input_chars_per_word": (MAX_WORD_CHARACTERS,)})
    normalizer, splitter = content.get("normalizer") or {}, content.get("pre_tokenizer") or {}
    if (normalizer.get("type"), splitter.get("type")) != ("BertNormalizer", "BertPreTokenizer"):
        found = f"{normalizer.get('type')} and {splitter.get('type')}"
        refuse(path, "normalizer and pre_tokenizer", found, "BertNormalizer and BertPreTokenizer")
    _require(path, "normalizer", normalizer, {"clean_text": (True,)})
    lower, chinese = (_flag(path, name, normalizer[name]) for name in ("lowercase", "handle_chinese_chars"))
    strip = normalizer.get("strip_accents")
    strip = None if strip is None else _flag(path, "strip_accents", strip)
    return {
        "algorithm": WORDPIECE,
        "do_lower_case": lower,
        "strip_accents": None if strip == lower else strip,
        "tokenize_chinese_chars": chinese,
    }


def _byte_level(path: Path, content: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """Reads the settings of byte-level BPE."""
    _require(path, "model", model, {"continuing_subword_prefix": (None, ""), "end_of_word_suffix": (None, "")})
    _require(path, "model", model, {"dropout": (None, 0.0), "byte_fallback": (False,), "ignore_merges": (False,)})
    normalizer, splitter = content.get("normalizer"), content.get("pre_tokenizer") or {}
    if normalizer is not None or splitter.get("type") != "ByteLevel":
        found = f"{(normalizer or {}).get('type')} and {splitter.get('type')}"
        refuse(path, "normalizer and pre_tokenizer", found, "None and ByteLevel")
    _require(path, "pre_tokenizer", splitter, {"use_regex": (True,)})
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    return {
        "algorithm": BYTE_LEVEL_BPE,
        "merges": parse_merges(path, pairs),
        "do_lower_case": False,
        "tokenize_chinese_chars": False,
        "add_prefix_space": _flag(path, "add_prefix_space", splitter["add_prefix_space"]),
    }


def _pair(path: Path, processor: Mapping[str, Any] | None, defaults: SpecialNames) -> tuple[int, int, dict[str, str]]:
    """Reads how rows and pairs are joined.

    Returns:
        The separators between two parts, the token type of the second, and the names of [CLS] and [SEP] where the
        processor gives them.
    """
    if processor is None:
        return (*(_BERT_PAIR if defaults == BERT_NAMES else _ROBERTA_PAIR), {})
    kind = processor["type"]
    if kind in ("BertProcessing", "RobertaProcessing"):
        names = {role: processor[role][0] for role in ("cls", "sep")}
        return (*(_BERT_PAIR if kind == "BertProcessing" else _ROBERTA_PAIR), names)
    if kind == "Sequence":
        kept = [part for part in processor["processors"] if part["type"] != "ByteLevel"]
        if len(kept) == 1:
            return _pair(path, kept[0], defaults)
    if kind == "TemplateProcessing":
        pieces = [next(iter(piece.values())) for piece in processor["pair"]]
        found = [(piece["id"], piece["type_id"]) for piece in pieces]
        cls, sep = found[0][0], found[-1][0]
        for count, second in (_BERT_PAIR, (2, 1), (1, 0), _ROBERTA_PAIR):
            if found == [(cls, 0), ("A", 0), *[(sep, 0)] * count, ("B", second), (sep, second)]:
                return count, second, {"cls": cls, "sep": sep}
    refuse(path, "post_processor", kind, "[CLS] a [SEP] b [SEP] of BERT or <s> a </s></s> b </s> of RoBERTa")


def tokens_of(path: Path, ids: Mapping[str, Any]) -> tuple[str, ...]:
    """Puts the tokens of a mapping in the order of their ids.

    Raises:
        DataError: if the ids are not 0 to n - 1, each once.
    """
    ordered = sorted(ids.items(), key=lambda entry: entry[1] if isinstance(entry[1], int) else -1)
    for place, (token, number) in enumerate(ordered):
        if number != place:
            raise DataError(
                f"{path}: id of '{token}' is {number!r}; ids from 0 to {len(ids) - 1}, each once, are expected"
            )
    return tuple(token for token, _ in ordered)


def parse_merges(path: Path, pairs: Iterable[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """Checks that every merge is of two tokens."""
    merges = []
    for number, pair in enumerate(pairs):
        if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise DataError(f"{path}: merge {number} is {' '.join(map(str, pair))!r}; two tokens are expected")
        merges.append((pair[0], pair[1]))
    return tuple(merges)
