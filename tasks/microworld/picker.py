"""Choosing words: by frequency for the corpus, among seen words for train files, among all for dev and test files."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import random
from collections.abc import Sequence
from typing import Literal

from tasks.microworld import lexicon

Mode = Literal["corpus", "train", "eval"]

# Zipf's law with an offset: keeps the rarest word of a group at about a sixth of the commonest one.
_OFFSET = 6


@functools.cache
def _zipf(size: int) -> tuple[float, ...]:
    """Give cumulative weights by rank for a group of `size` words."""
    return tuple(itertools.accumulate(1 / (rank + _OFFSET) for rank in range(size)))


@functools.cache
def _seen(words: tuple[str, ...]) -> tuple[str, ...]:
    """Keep the words that train files may show; all of them where none is held out."""
    return tuple(word for word in words if lexicon.is_seen(word))


@functools.cache
def _seen_senses(senses: tuple[str, ...]) -> tuple[str, ...]:
    """Keep the senses with at least one word that train files may show."""
    return tuple(sense for sense in senses if _seen(lexicon.SENSES[sense]))


@dataclasses.dataclass(frozen=True, slots=True)
class Picker:
    """A way to choose words.

    Attributes:
      mode: "corpus" (all words, Zipf frequencies), "train" (seen words, uniform) or "eval" (all words, uniform).
    """

    mode: Mode

    def word(self, rng: random.Random, words: tuple[str, ...]) -> str:
        """Choose one word of a group.

        Args:
          rng: Source of randomness.
          words: The group, in order of frequency.

        Returns:
          A word of the group.
        """
        if self.mode == "corpus":
            return rng.choices(words, cum_weights=_zipf(len(words)))[0]
        return rng.choice(_seen(words) if self.mode == "train" else words)

    def other(self, rng: random.Random, words: tuple[str, ...], avoid: Sequence[str]) -> str:
        """Choose one word of a group that is not among some others.

        Args:
          rng: Source of randomness.
          words: The group, in order of frequency.
          avoid: Words that must not be chosen.

        Returns:
          A word of the group outside `avoid`, or the first of `avoid` where nothing else is left.
        """
        left = tuple(word for word in (_seen(words) if self.mode == "train" else words) if word not in avoid)
        if not left:
            return avoid[0]
        if self.mode == "corpus":
            return rng.choices(left, cum_weights=_zipf(len(left)))[0]
        return rng.choice(left)

    def sense(self, rng: random.Random, senses: tuple[str, ...], avoid: Sequence[str] = ()) -> str:
        """Choose a sense that has a word in this mode.

        Args:
          rng: Source of randomness.
          senses: Sense ids, keys of `lexicon.SENSES`.
          avoid: Senses that must not be chosen.

        Returns:
          A sense id.
        """
        options = _seen_senses(senses) if self.mode == "train" else senses
        return rng.choice([sense for sense in options if sense not in avoid])

    def has_opposite(self, sense: str) -> bool:
        """Say whether the opposite of a sense has a word in this mode.

        Args:
          sense: A sense id.

        Returns:
          True where `lexicon.OPPOSITE` names a sense that can be worded.
        """
        opposite = lexicon.OPPOSITE.get(sense)
        return opposite is not None and (self.mode != "train" or bool(_seen(lexicon.SENSES[opposite])))

    def wording(self, rng: random.Random, sense: str) -> str:
        """Choose a word for a sense.

        Args:
          rng: Source of randomness.
          sense: A sense id.

        Returns:
          One of its synonyms.
        """
        return self.word(rng, lexicon.SENSES[sense])

    def synonym(self, rng: random.Random, sense: str, word: str) -> str:
        """Choose another word for a sense.

        Args:
          rng: Source of randomness.
          sense: A sense id.
          word: The word used so far.

        Returns:
          Another synonym, or the same word where the sense has no other.
        """
        return self.other(rng, lexicon.SENSES[sense], (word,))


CORPUS = Picker("corpus")
TRAIN = Picker("train")
EVAL = Picker("eval")
