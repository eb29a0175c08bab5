"""Special and added tokens of a Hugging Face directory: their roles, ids and flags."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.encoding.tokenizer_settings import MPNET_NAMES, Added, SpecialNames, TokenizerSettings
from tasks.system.errors import DataError

CONFIG, SPECIAL_MAP = "tokenizer_config.json", "special_tokens_map.json"
_ROLES = tuple(field.name for field in dataclasses.fields(SpecialNames))
_LISTS = ("additional_special_tokens", "extra_special_tokens")
_FLAGS = frozenset(field.name for field in dataclasses.fields(Added)) - {"content", "special"}


def complete(
    directory: Path, files: Mapping[str, dict[str, Any]], found: TokenizerSettings, stated: Mapping[str, str]
) -> TokenizerSettings:
    """Adds the special and added tokens that the smaller files name.

    Args:
        directory: named in errors.
        files: name -> content of the JSON files that are there.
        found: settings of the vocabulary, or of `tokenizer.json` with its added tokens, whose flags then hold.
        stated: the roles that `tokenizer.json` itself gives.

    Returns:
        The settings with roles and added tokens.

    Raises:
        DataError: if two files disagree, or a token with a role is not in the vocabulary.
    """
    whole = "tokenizer.json" in files
    special = _roles(directory, files, found.special, stated)
    added = {token.content: token for token in found.added}
    tokens = list(found.tokens)
    known = {token: number for number, token in enumerate(tokens)}
    for name, number, token in _numbered(directory, files):
        if token.content not in known and number == len(tokens) and not whole:
            known[token.content] = len(tokens)
            tokens.append(token.content)
        if known.get(token.content) != number:
            there = known.get(token.content, "missing")
            raise DataError(
                f"{directory / name}: the id of '{token.content}' is {number}, in the vocabulary {there}; they must"
                " agree"
            )
        if name == CONFIG and added.setdefault(token.content, token) != token:
            raise DataError(
                f"{directory / name}: other flags for '{token.content}' than in tokenizer.json; they must agree"
            )
        added.setdefault(token.content, token)
    for token in _named(directory, files, special):
        added.setdefault(token.content, token)
    missing = next((role for role in _ROLES if getattr(special, role) not in known), None)
    if missing:
        raise DataError(
            f"vocabulary {directory}: no {getattr(special, missing)}, its {missing}_token; the name of a token in the"
            f" vocabulary is expected as {missing}_token in {CONFIG}"
        )
    for content in added:
        if content not in known:
            known[content] = len(tokens)
            tokens.append(content)
    ordered = tuple(sorted(added.values(), key=lambda token: known[token.content]))
    return dataclasses.replace(found, tokens=tuple(tokens), special=special, added=ordered)


def _roles(
    directory: Path, files: Mapping[str, dict[str, Any]], defaults: SpecialNames, stated: Mapping[str, str]
) -> SpecialNames:
    """Reads which token has which role."""
    names: dict[str, str] = {}
    for file in (CONFIG, SPECIAL_MAP):
        for role in _ROLES:
            value = files.get(file, {}).get(f"{role}_token")
            if value is None:
                continue
            name = _token(directory / file, f"{role}_token", value).content
            if names.setdefault(role, name) != name:
                raise DataError(
                    f"{directory / file}: {role}_token is '{name}', in {CONFIG} '{names[role]}'; they must agree"
                )
    for role, other in stated.items():
        if names.get(role, other) != other:
            raise DataError(
                f"{directory}: {role}_token is '{names[role]}', in tokenizer.json '{other}'; they must agree"
            )
    return dataclasses.replace(defaults, **names)


def _numbered(directory: Path, files: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, int, Added]]:
    """Yields file, id and token of the added tokens whose ids are written down, by id."""
    config = files.get(CONFIG, {}).get("added_tokens_decoder") or {}
    try:
        for number, value in sorted(config.items(), key=lambda entry: int(entry[0])):
            yield CONFIG, int(number), Added(**value)
        for content, number in sorted(files.get("added_tokens.json", {}).items(), key=lambda entry: entry[1]):
            special = content in {str(value) for value in files.get(CONFIG, {}).values()}
            yield "added_tokens.json", number, Added(content=content, special=special, normalized=not special)
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"{directory}: the added tokens cannot be read ({error}); id and flags of each are expected"
        ) from None


def _named(directory: Path, files: Mapping[str, dict[str, Any]], special: SpecialNames) -> Iterator[Added]:
    """Yields the tokens that are named by a role or in a list; flags of the second file come first."""
    for file in (SPECIAL_MAP, CONFIG):
        content = files.get(file, {})
        for role in (*_ROLES, "bos", "eos"):
            value = content.get(f"{role}_token")
            if isinstance(value, dict):
                yield _token(directory / file, f"{role}_token", value)
    for name in dataclasses.astuple(special):
        # MPNet's <mask> takes the spaces before it.
        yield Added(content=name, lstrip=special == MPNET_NAMES and name == special.mask)
    for file in (SPECIAL_MAP, CONFIG):
        content = files.get(file, {})
        names = [content.get(key) for key in ("bos_token", "eos_token")]
        for key in _LISTS:
            if isinstance(content.get(key), list):
                names += content[key]
        for value in names:
            if value is not None:
                yield _token(directory / file, "a special token", value)


def _token(path: Path, member: str, value: Any) -> Added:
    """Reads a token, written as its name or with its flags."""
    content: Any = {"content": value} if isinstance(value, str) else value
    try:
        return Added(content=content["content"], **{name: content[name] for name in _FLAGS & set(content)})
    except (KeyError, TypeError):
        raise DataError(f"{path}: {member} is {value!r}; a token is expected") from None
