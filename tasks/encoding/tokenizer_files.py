"""Tokenizer files of a Hugging Face directory: read into settings and written again.

`tokenizer.json`, where it is there, decides; without it `vocab.txt`, or `vocab.json` and `merges.txt`, with the
settings of `tokenizer_config.json` and `special_tokens_map.json`. What two files say differently is refused, because
the ids would depend on who reads them.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.encoding import added_tokens, tokenizer_json
from tasks.encoding.tokenizer_settings import (
    BERT_NAMES,
    BYTE_LEVEL_BPE,
    MPNET_NAMES,
    ROBERTA_NAMES,
    WORDPIECE,
    SpecialNames,
    TokenizerSettings,
    build,
    plain_settings,
    vocabulary_text,
)
from tasks.system.compression import read_content
from tasks.system.errors import DataError

TOKENIZER, ADDED = "tokenizer.json", "added_tokens.json"
CONFIG, SPECIAL_MAP = added_tokens.CONFIG, added_tokens.SPECIAL_MAP
WORDS, BPE_IDS, MERGES = "vocab.txt", "vocab.json", "merges.txt"
NAMES = (TOKENIZER, CONFIG, SPECIAL_MAP, ADDED, WORDS, BPE_IDS, MERGES)

# Classes of transformers, without `Tokenizer` and `Fast`, by what they make of the same files.
_BERT_LIKE = ("Bert", "DistilBert", "Electra", "MobileBert")
_ROBERTA_LIKE = ("Roberta", "Longformer", "Bart")
_GENERIC = ("PreTrained", "TokenizersBackend")
_WORDPIECE_FLAGS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
# Members of `tokenizer_config.json`, and of `tokenizer.json` with the direction that holds without them.
_SIDES = {"padding_side": "padding", "truncation_side": "truncation"}


def present(directory: Path) -> list[Path]:
    """Lists the tokenizer files of a directory."""
    return [path for name in NAMES if (path := directory / name).is_file()]


def read(path: Path) -> TokenizerSettings:
    """Reads a `vocab.txt` or a directory of tokenizer files.

    Raises:
        DataError: names the file and the member that cannot be used, or two files that disagree.
    """
    return read_directory(path) if path.is_dir() else read_plain(path)


def read_plain(path: Path) -> TokenizerSettings:
    """Reads a `vocab.txt` of uncased BERT; raises as `read`."""
    tokens = read_lines(path)
    if missing := [name for name in dataclasses.astuple(BERT_NAMES) if name not in tokens]:
        expected = ", ".join(dataclasses.astuple(BERT_NAMES))
        raise DataError(f"vocabulary {path}: no {', '.join(missing)}; {expected} are expected")
    return plain_settings(tokens)


def read_lines(path: Path) -> tuple[str, ...]:
    """Reads the tokens of a `vocab.txt`, plain or compressed, one per line.

    Raises:
        DataError: if the file is missing, damaged, no UTF-8 text or repeats a token.
    """
    if not path.is_file():
        raise DataError(
            f"vocabulary {path} is missing: a text file with one WordPiece token per line, or a folder with tokenizer"
            " files, is expected"
        )
    try:
        lines = read_content(path).decode().split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"vocabulary {path}: byte {error.start} is not UTF-8") from error
    if lines and not lines[-1]:
        lines.pop()
    if len(lines) == 1 and "\r" in lines[0].rstrip("\r"):
        raise DataError(f"vocabulary {path}: its lines end with a carriage return alone; line feeds are expected")
    tokens = tuple(line.rstrip("\r") for line in lines)
    if len(set(tokens)) != len(tokens):
        token, count = Counter(tokens).most_common(1)[0]
        raise DataError(f"vocabulary {path}: token '{token}' occurs {count} times; every line must be a new token")
    return tokens


def read_directory(directory: Path) -> TokenizerSettings:
    """Reads a directory of tokenizer files.

    Returns:
        Its settings; those of uncased BERT where it has nothing but `vocab.txt`.

    Raises:
        DataError: as `read`.
    """
    names = [path.name for path in present(directory)]
    if not {TOKENIZER, WORDS, BPE_IDS} & set(names):
        raise DataError(f"vocabulary {directory}: no {TOKENIZER}, {WORDS} or {BPE_IDS} and {MERGES}; one is expected")
    files = {name: _json(directory / name) for name in names if name in (TOKENIZER, CONFIG, SPECIAL_MAP, ADDED)}
    config = files.get(CONFIG, {})
    _refuse_left(directory, config, files.get(TOKENIZER, {}))
    family = _family(directory, config, TOKENIZER in files, BPE_IDS in names)
    if TOKENIZER in files:
        found, stated = tokenizer_json.parse(directory / TOKENIZER, files[TOKENIZER], _defaults(family))
        _refuse_other_vocabulary(directory, found)
        _refuse_other_settings(directory, config, found)
    else:
        found, stated = _from_lists(directory, config, family), {}
    found = added_tokens.complete(directory, files, found, stated)
    _refuse_incomplete(directory, found)
    return found


def _refuse_left(directory: Path, config: Mapping[str, Any], whole: Mapping[str, Any]) -> None:
    """Refuses a tokenizer that pads or cuts texts at their beginning, which changes positions and what is read."""
    for name, member in _SIDES.items():
        place, value = f"{directory / CONFIG}: {name}", config.get(name)
        section = whole.get(member)
        if value is None and isinstance(section, Mapping):
            place, value = f"{directory / TOKENIZER}: {member}.direction", section.get("direction")
        if value is not None and str(value).lower() != "right":
            raise DataError(f"{place} is {value!r}; 'right' is expected, as rows are padded and cut at their end")


def _refuse_incomplete(directory: Path, found: TokenizerSettings) -> None:
    """Refuses a vocabulary without the tokens that its algorithm falls back on."""
    known = set(found.tokens[: found.num_model_tokens])
    if found.algorithm == WORDPIECE:
        if found.special.unk not in known:
            raise DataError(f"vocabulary {directory}: unk_token '{found.special.unk}' is expected among its own tokens")
        return
    from tokenizers.pre_tokenizers import ByteLevel

    if missing := sorted(set(ByteLevel.alphabet()) - known):
        raise DataError(f"vocabulary {directory}: {len(missing)} of 256 bytes have no token; all are expected")
    for first, second in found.merges:
        if not {first, second, first + second} <= known:
            raise DataError(f"vocabulary {directory}: merge '{first} {second}' is of tokens that it does not have")


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: a JSON object is expected")
    return value


def _family(directory: Path, config: Mapping[str, Any], whole: bool, has_bpe: bool) -> str:
    """Tells whose defaults hold: `bert`, `mpnet` or `roberta`."""
    named = config.get("tokenizer_class")
    if named is None and (directory / "config.json").is_file():
        kind = str(_json(directory / "config.json").get("model_type", ""))
        return "mpnet" if kind == "mpnet" else "roberta" if has_bpe else "bert"
    name = str(named or "").removesuffix("Fast").removesuffix("Tokenizer")
    if name == "MPNet":
        return "mpnet"
    if name in _ROBERTA_LIKE:
        return "roberta"
    if named is None or name in _BERT_LIKE or (whole and name in _GENERIC):
        return "roberta" if has_bpe and name not in _BERT_LIKE else "bert"
    known = ", ".join(f"{entry}Tokenizer" for entry in (*_BERT_LIKE, "MPNet", *_ROBERTA_LIKE))
    raise DataError(
        f"{directory / CONFIG}: tokenizer_class is '{named}'; {known} are expected, or PreTrainedTokenizerFast with"
        f" {TOKENIZER}"
    )


def _defaults(family: str) -> SpecialNames:
    return {"bert": BERT_NAMES, "mpnet": MPNET_NAMES, "roberta": ROBERTA_NAMES}[family]


def _from_lists(directory: Path, config: Mapping[str, Any], family: str) -> TokenizerSettings:
    """Makes settings of `vocab.txt`, or of `vocab.json` and `merges.txt`, before special tokens are looked at."""
    shape: dict[str, Any] = {"pair_separators": 1, "second_type_id": 1}
    if family != "bert":
        shape = {"pair_separators": 2, "second_type_id": 0}
    shape |= {"special": _defaults(family), "added": ()}
    if (directory / WORDS).is_file() and family != "roberta":
        tokens = read_lines(directory / WORDS)
        lower, strip = (_flag(directory, config, name, None) for name in ("do_lower_case", "strip_accents"))
        lower = True if lower is None else lower
        chinese = _flag(directory, config, "tokenize_chinese_chars", True)
        shape |= {
            "do_lower_case": lower,
            "strip_accents": None if strip == lower else strip,
            "tokenize_chinese_chars": bool(chinese),
        }
        return TokenizerSettings(tokens=tokens, num_model_tokens=len(tokens), **shape)
    tokens = tokenizer_json.tokens_of(directory / BPE_IDS, _json(directory / BPE_IDS))
    return TokenizerSettings(
        algorithm=BYTE_LEVEL_BPE,
        tokens=tokens,
        num_model_tokens=len(tokens),
        merges=_read_merges(directory / MERGES),
        do_lower_case=False,
        tokenize_chinese_chars=False,
        add_prefix_space=bool(_flag(directory, config, "add_prefix_space", False)),
        **shape,
    )


def _read_merges(path: Path) -> tuple[tuple[str, str], ...]:
    try:
        lines = read_content(path).decode().split("\n")
    except FileNotFoundError:
        raise DataError(f"{path} is missing: the merges of {BPE_IDS} are expected") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8") from None
    kept = [line.rstrip("\r") for number, line in enumerate(lines) if line and not (number == 0 and line[0] == "#")]
    return tokenizer_json.parse_merges(path, [line.split(" ") for line in kept])


def _flag(directory: Path, config: Mapping[str, Any], name: str, default: bool | None) -> bool | None:
    value = config.get(name, default)
    if value is not None and not isinstance(value, bool):
        raise DataError(f"{directory / CONFIG}: {name} is {value!r}; true, false or null is expected")
    return default if value is None else value


def _refuse_other_vocabulary(directory: Path, found: TokenizerSettings) -> None:
    """Refuses a `vocab.txt`, `vocab.json` or `merges.txt` that disagrees with `tokenizer.json`."""
    words, ids = directory / WORDS, directory / BPE_IDS
    model_tokens = found.tokens[: found.num_model_tokens]
    for path in (words, ids):
        if not path.is_file():
            continue
        if (path == words) != (found.algorithm == WORDPIECE):
            raise DataError(f"{path}: {TOKENIZER} beside it is of {found.algorithm}; remove the one that is wrong")
        tokens = read_lines(path) if path == words else tokenizer_json.tokens_of(path, _json(path))
        if tokens == model_tokens:
            continue
        differing = (n for n, pair in enumerate(zip(tokens, model_tokens, strict=False)) if pair[0] != pair[1])
        place = next(differing, min(len(tokens), len(model_tokens)))
        mine, other = (repr(t[place]) if place < len(t) else "missing" for t in (tokens, model_tokens))
        raise DataError(f"{path}: token {place} is {mine}, in {TOKENIZER} {other}; remove the file that is wrong")
    path = directory / MERGES
    if found.algorithm == BYTE_LEVEL_BPE and path.is_file() and _read_merges(path) != found.merges:
        raise DataError(f"{path}: other merges than in {TOKENIZER}; remove the file that is wrong")


def _refuse_other_settings(directory: Path, config: Mapping[str, Any], found: TokenizerSettings) -> None:
    """Refuses settings in `tokenizer_config.json` that `tokenizer.json` contradicts."""
    if found.algorithm == WORDPIECE:
        expected = {
            "do_lower_case": found.do_lower_case,
            "strip_accents": found.do_lower_case if found.strip_accents is None else found.strip_accents,
            "tokenize_chinese_chars": found.tokenize_chinese_chars,
        }
    else:
        expected = {"add_prefix_space": found.add_prefix_space}
    for name, value in expected.items():
        # Null and a missing member leave the choice to tokenizer.json.
        given = _flag(directory, config, name, None)
        if given is not None and given != value:
            raise DataError(
                f"{directory / CONFIG}: {name} is {json.dumps(given)}, in {TOKENIZER} {json.dumps(value)}; they must"
                " agree"
            )


def write(settings: TokenizerSettings, directory: Path, **extra: Any) -> None:
    """Writes all tokenizer files of settings, for transformers and for `read_directory`, which gives them back.

    Args:
        settings: the settings.
        directory: an existing folder.
        extra: further members of `tokenizer_config.json`.
    """
    build(settings).save(str(directory / TOKENIZER))
    model_tokens = settings.tokens[: settings.num_model_tokens]
    roles = {f"{role}_token": name for role, name in dataclasses.asdict(settings.special).items()}
    config: dict[str, Any] = roles | {"tokenizer_class": _class_name(settings)}
    if settings.second_type_id == 0:
        config["model_input_names"] = ["input_ids", "attention_mask"]
    ids = {token: number for number, token in enumerate(settings.tokens)}
    config["added_tokens_decoder"] = {str(ids[token.content]): dataclasses.asdict(token) for token in settings.added}
    if settings.algorithm == WORDPIECE:
        (directory / WORDS).write_bytes(vocabulary_text(model_tokens).encode())
        config |= {name: getattr(settings, name) for name in _WORDPIECE_FLAGS}
    else:
        _write_json(directory / BPE_IDS, {token: ids[token] for token in model_tokens})
        lines = "".join(f"{first} {second}\n" for first, second in settings.merges)
        (directory / MERGES).write_bytes(f"#version: 0.2\n{lines}".encode())
        config |= {"add_prefix_space": settings.add_prefix_space}
    _write_json(directory / CONFIG, config | extra)
    _write_json(directory / SPECIAL_MAP, roles)


def _class_name(settings: TokenizerSettings) -> str:
    """Chooses the class of transformers that makes the same tokenizer."""
    shape = (settings.algorithm, settings.pair_separators, settings.second_type_id)
    return {
        (WORDPIECE, 1, 1): "BertTokenizer",
        (WORDPIECE, 2, 0): "MPNetTokenizer",
        (BYTE_LEVEL_BPE, 2, 0): "RobertaTokenizer",
    }.get(shape, "PreTrainedTokenizerFast")


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
