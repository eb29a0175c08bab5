"""Augmentation: against a slow loop of its own over rows, and what never changes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.distillation import augmentation
from benchmark.distillation.augmentation import (
    Replacement,
    Words,
    augment,
    augmented_ids,
    masked_lm_candidates,
    places,
    read_words,
)
from benchmark.models.heads import MaskedLM
from benchmark.training.masking import SpecialTokens
from benchmark.training.pretrain import init_params
from tasks.arrays.token_arrays import TokenArrays
from tasks.encoding import vocabulary
from tasks.system.errors import DataError
from tests.helpers.encoders import small_encoder
from tests.helpers.tokenizer_directories import roberta

TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "not", "2", ",", "##s", "##ing", *"bcefghjkl")
WORDS = ["cat", "dog", "tree", "run", "blue", "high"]
SPECIAL = SpecialTokens(vocab_size=len(TOKENS) + len(WORDS), pad_id=0, cls_id=2, sep_id=3, mask_id=4)
COUNT = 4


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Words:
    path = tmp_path_factory.mktemp("words") / "vocab.txt"
    path.write_text("".join(f"{token}\n" for token in (*TOKENS, *WORDS)), encoding="utf-8")
    return read_words(path)


def test_words_of_byte_level_bpe(tmp_path: Path) -> None:
    """Of a text, only words of one token behind a space are replaced, and only by such words or by signs."""
    path = roberta(tmp_path / "roberta")
    kinds, tokens = read_words(path), vocabulary.read_tokens(path)
    words = [" cats", " sat", ",", " unhappy", " catdogs", " on", " café", " mats"]
    encode = vocabulary.tokenizer(path).encode
    pieces = [encode(word, add_special_tokens=False).ids for word in words]
    ids = encode("".join(words), add_special_tokens=False).ids
    assert ids == sum(pieces, [])
    whole = [word for word, parts in zip(words, pieces, strict=True) if len(parts) == 1]
    assert {" cats", " sat", " on"} <= set(whole) and " catdogs" not in whole
    found = [tokens[i] for i, chosen in zip(ids, places(np.array([ids]), kinds)[0], strict=True) if chosen]
    assert found == [word.replace(" ", "Ġ") for word in whole if word not in (",", " on", " café")]
    written = {token for token, kept in zip(tokens, kinds.written, strict=True) if kept}
    assert {token for token in tokens if token.startswith("Ġ")} == written


def stub(ids: np.ndarray, types: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A masked LM that reads both neighbours, types and place, and sometimes names pieces and special tokens."""
    rows = np.arange(len(ids))
    after = ids[rows, np.minimum(places + 1, ids.shape[1] - 1)].astype(np.int64)
    base = ids[rows, places - 1].astype(np.int64) * 7 + after * 3 + types[rows, places] * 5 + places
    return (base[:, None] + np.arange(COUNT) * 5) % SPECIAL.vocab_size


def slow_candidates(row: list[int], types: list[int]) -> dict[int, list[int]]:
    """Place -> what may stand there, by the rules of the released program, read off the tokens as text."""
    tokens = [(*TOKENS, *WORDS)[i] for i in row]
    found = {}
    for place, token in enumerate(tokens):
        several = place + 1 < len(tokens) and tokens[place + 1].startswith("##")
        if not token.isalpha() or token in ("the", "not") or several:
            continue
        answer = stub(np.array([row]), np.array([types]), np.array([place]))[0]
        texts = [(*TOKENS, *WORDS)[i] for i in answer]
        found[place] = [
            i for i, text in zip(answer, texts, strict=True) if not text.startswith("##") and not text.startswith("[")
        ]
    return found


@st.composite
def some_rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    length = draw(st.integers(4, 12))
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        used = draw(st.integers(3, length))
        middle = draw(st.lists(st.integers(4, SPECIAL.vocab_size - 1), min_size=used - 2, max_size=used - 2))
        rows.append([SPECIAL.cls_id, *middle, SPECIAL.sep_id] + [0] * (length - used))
    types = [[int(i > length // 2) for i in range(length)] for _ in rows]
    return np.array(rows, np.uint16), np.array(types, np.uint8)


@settings(max_examples=60)
@given(some_rows(), st.integers(0, 3), st.sampled_from([0.0, 0.4, 1.0]))
def test_against_a_slow_loop(words: Words, rows: tuple[np.ndarray, np.ndarray], seed: int, rate: float) -> None:
    ids, types = rows
    numbers = np.arange(len(ids)) + 5
    how = Replacement(words, stub, 3, rate, seed)
    copies = augmented_ids(ids, types, numbers, how)
    assert (copies.shape, copies.dtype) == ((len(ids), 3, ids.shape[1]), ids.dtype)
    for number, (row, type_row, made) in enumerate(zip(ids.tolist(), types.tolist(), copies.tolist(), strict=True)):
        allowed = slow_candidates(row, type_row)
        for copy in made:
            for place, (old, new) in enumerate(zip(row, copy, strict=True)):
                if place not in allowed or not allowed[place]:
                    assert new == old
                elif rate == 1.0:
                    assert new in allowed[place]
                else:
                    assert new == old or (rate and new in allowed[place])
        # A row does not depend on those that are made with it.
        only = slice(number, number + 1)
        alone = augmented_ids(ids[only], types[only], numbers[only], how)
        assert alone[0].tolist() == made


def test_replacement_is_that_of_the_numbers_drawn() -> None:
    rng = np.random.default_rng(0)
    ids, candidates = rng.integers(10, 20, (3, 5)), rng.integers(20, 60, (3, 5, COUNT))
    candidates[0, 2, 2:], candidates[1, 1] = -1, -1
    draws, choices = rng.random((2, 3, 7, 5), np.float32)
    found = augmentation.replaced(ids, candidates, draws, choices, 0.4)
    for row, copy, place in np.ndindex(3, 7, 5):
        own = [c for c in candidates[row, place] if c >= 0]
        expected = ids[row, place]
        if own and draws[row, copy, place] < 0.4:
            expected = own[int(choices[row, copy, place] * len(own))]
        assert found[row, copy, place] == expected


def test_share_and_choice_are_those_asked_for(words: Words) -> None:
    dog, others = len(TOKENS) + 1, np.arange(len(TOKENS) + 2, len(TOKENS) + 6)
    ids = np.full((50, 10), dog, np.uint16)
    how = Replacement(words, lambda a, b, c: np.tile(others, (len(a), 1)), 20, 0.4, 1)
    made = augmented_ids(ids, ids * 0, np.arange(50), how)
    # 10,000 independent draws: five standard deviations.
    assert abs((made != dog).mean() - 0.4) < 5 * (0.4 * 0.6 / made.size) ** 0.5
    shares = [(made == other).mean() for other in others]
    assert all(abs(share - 0.1) < 5 * (0.1 * 0.9 / made.size) ** 0.5 for share in shares)
    # Copies, rows and seeds differ.
    assert len({row.tobytes() for row in made.reshape(-1, 10)}) > 500
    again = augmented_ids(ids, ids * 0, np.arange(50), dataclasses.replace(how, seed=2))
    assert not np.array_equal(made, again)


def test_candidates_are_the_likeliest_of_the_masked_word() -> None:
    encoder = small_encoder()
    params = init_params(encoder, 3, next_sentence=True)
    special = SpecialTokens(vocab_size=40, pad_id=0, cls_id=2, sep_id=3, mask_id=4)
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 40, (70, 8)).astype(np.uint16)
    ids[::2, 6:] = 0
    types, places = (rng.random((70, 8)) < 0.5).astype(np.uint8), rng.integers(1, 6, 70)
    found = masked_lm_candidates(encoder, params, special, COUNT)(ids, types, places)
    own = {"params": {name: params[name] for name in ("encoder", "masked_lm")}}
    for row in (0, 1, 63, 64, 69):
        masked = ids[row : row + 1].astype(np.int32)
        masked[0, places[row]] = 4
        all_places = jnp.arange(8)[None]
        logits = MaskedLM(encoder).apply(own, masked, (masked != 0) * 1, types[row : row + 1] * 1, all_places).logits
        expected = np.argsort(-np.asarray(logits)[0, places[row]], kind="stable")[:COUNT]
        assert found[row].tolist() == expected.tolist()


def labelled(count: int) -> TokenArrays:
    rng = np.random.default_rng(4)
    ids = rng.integers(5, SPECIAL.vocab_size, (count, 9)).astype(np.uint16)
    ids[:, 0], ids[:, 6], ids[:, 7:] = SPECIAL.cls_id, SPECIAL.sep_id, 0
    features: dict[str, np.ndarray] = {
        "input_ids": ids,
        "token_type_ids": (ids % 2).astype(np.uint8),
        "label": rng.random(count).astype(np.float32),
    }
    return TokenArrays(Path(), features, {"rows": count})


def made(rows: TokenArrays, directory: Path, words: Words, candidates: Any = stub, block_rows: int = 4) -> TokenArrays:
    return augment(rows, directory, Replacement(words, candidates, 2, 0.4, 0), length=7, block_rows=block_rows)


def test_rows_on_disk_keep_their_features(words: Words, tmp_path: Path) -> None:
    rows = labelled(10)
    found = made(rows, tmp_path / "a", words)
    assert found.num_rows == 30
    for name, values in rows.features.items():
        assert found.features[name].dtype == values.dtype
        assert np.array_equal(found.features[name][::3], values)
        if name != "input_ids":
            assert np.array_equal(found.features[name], np.repeat(values, 3, axis=0))
    assert np.array_equal(found.features["input_ids"] == 0, np.repeat(rows.features["input_ids"] == 0, 3, axis=0))
    changed = (found.features["input_ids"] != np.repeat(rows.features["input_ids"], 3, axis=0)).any(axis=1)
    assert changed.any() and not changed[::3].any()
    other = made(rows, tmp_path / "b", words, block_rows=3)
    assert np.array_equal(other.features["input_ids"], found.features["input_ids"])


def test_an_interrupted_call_is_continued(words: Words, tmp_path: Path) -> None:
    rows, calls = labelled(10), []

    def stopping(*arguments: np.ndarray) -> np.ndarray:
        calls.append(len(arguments[0]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return stub(*arguments)

    with pytest.raises(KeyboardInterrupt):
        made(rows, tmp_path / "a", words, stopping)
    assert not (tmp_path / "a").exists()
    found = made(rows, tmp_path / "a", words, stopping)
    # The first of three blocks is not asked for again, and a finished call asks for nothing.
    assert len(calls) == 4
    made(rows, tmp_path / "a", words, stopping)
    assert len(calls) == 4
    whole = made(rows, tmp_path / "b", words)
    assert np.array_equal(found.features["input_ids"], whole.features["input_ids"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_what_a_vocabulary_says(words: Words) -> None:
    names = np.array([*TOKENS, *WORDS])
    assert set(names[words.inner]) == {"##s", "##ing"}
    assert set(names[words.replaceable]) == {*"bcefghjkl", *WORDS}
    assert set(names[~words.written]) == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "##s", "##ing"}


def test_a_missing_vocabulary_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"vocab\.txt is missing"):
        read_words(tmp_path / "vocab.txt")
