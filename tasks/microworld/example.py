"""What the makers of GLUE examples get and give."""

from __future__ import annotations

import dataclasses
import random

from tasks.microworld.picker import TRAIN, Picker
from tasks.microworld.world import World


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One example.

    Attributes:
      first: The sentence, or the first of a pair.
      second: The second of a pair, else empty.
      label: The official label text.
      level: Its difficulty: 1, 2 or 3. No official file shows it.
      genre: The genre, for MNLI.
    """

    first: str
    second: str
    label: str
    level: int
    genre: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """What a maker of examples needs.

    Attributes:
      rng: Source of randomness.
      picker: Chooses the words.
      world: The world.
      genres: Genres to draw from, for MNLI.
    """

    rng: random.Random
    picker: Picker
    world: World
    genres: tuple[str, ...]

    @property
    def training(self) -> bool:
        """Whether the example is for a train file."""
        return self.picker is TRAIN
