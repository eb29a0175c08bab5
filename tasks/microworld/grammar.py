"""Acceptable sentences and minimal edits that break them: the sentences of CoLA."""

from __future__ import annotations

import dataclasses
import random

from tasks.microworld import lexicon, scenes
from tasks.microworld.picker import Picker

_QUALITIES = tuple(lexicon.QUALITIES)
# An over-regular past tense is an error that a model can learn from the task's own training rows; it comes twice as
# often as the others, so that a model without pretraining is better than chance and still far from a pretrained one.
_EDITS = ("agreement", "reflexive", "order", "category", "number", "doubled", "missing", "tense", "tense")
_OVER_REGULAR = {"sold": "selled", "bought": "buyed", "found": "finded", "lost": "losed", "built": "builded"}


@dataclasses.dataclass(frozen=True, slots=True)
class Acceptable:
    """An acceptable sentence with the places where it can be broken.

    Attributes:
      words: The words, without the full stop.
      edit: The only edit that is applied to this pattern.
      at: Position of the word that the edit concerns.
      wrong: The words that the edit puts there.
    """

    words: tuple[str, ...]
    edit: str
    at: int
    wrong: tuple[str, ...]

    def broken(self) -> tuple[str, ...]:
        """Apply the edit.

        Returns:
          The words of the unacceptable sentence.
        """
        width = 2 if self.edit == "order" else 1
        return self.words[: self.at] + self.wrong + self.words[self.at + width :]


def acceptability(rng: random.Random, picker: Picker, *, acceptable: bool) -> str:
    """Make a sentence for the acceptability task.

    Args:
      rng: Source of randomness.
      picker: Chooses the words.
      acceptable: Whether the sentence is left whole.

    Returns:
      The sentence.
    """
    pattern = _PATTERNS[rng.choice(_EDITS)](rng, picker)
    return scenes.sentence(" ".join(pattern.words if acceptable else pattern.broken()))


def _member(rng: random.Random, picker: Picker) -> str:
    """Choose a member of any kind."""
    return picker.word(rng, lexicon.KINDS[rng.choice(tuple(lexicon.KINDS))])


def _quality(rng: random.Random, picker: Picker) -> str:
    """Choose an adjective."""
    return picker.wording(rng, picker.sense(rng, _QUALITIES))


def _agreement(rng: random.Random, picker: Picker) -> Acceptable:
    """The verb agrees with its subject, not with the nearer noun."""
    many = rng.random() < 0.5
    subject, near = _member(rng, picker), rng.choice(lexicon.SITES)
    head = lexicon.plural(subject) if many else subject
    verbs = rng.choice((("was", "were"), ("is", "are"), ("has been", "have been")))
    words = ["the", head, "near", "the", lexicon.plural(near) if rng.random() < 0.5 else near]
    if rng.random() < 0.4:
        words = words[:2]
    at = len(words)
    right, wrong = verbs[many], verbs[not many]
    words += [*right.split(), _quality(rng, picker)]
    return Acceptable(tuple(words), "agreement", at, tuple(wrong.split()[:1]))


def _reflexive(rng: random.Random, picker: Picker) -> Acceptable:
    """The reflexive pronoun agrees with the name."""
    female = rng.random() < 0.5
    name = picker.word(rng, lexicon.FEMALE if female else lexicon.MALE)
    verb = picker.wording(rng, picker.sense(rng, tuple(lexicon.PERSON_VERBS)))
    pronouns = ("herself", "himself") if female else ("himself", "herself")
    tail = scenes.place_phrase(scenes.pick_place(rng, picker)).split() if rng.random() < 0.5 else []
    return Acceptable((name, verb, pronouns[0], *tail), "reflexive", 2, (pronouns[1],))


def _scene_words(rng: random.Random, picker: Picker) -> tuple[list[str], scenes.Telling]:
    """Tell a scene with an adjective as a list of words: agent, verb, article, adjective, noun and maybe a place."""
    scene = scenes.make(rng, picker, quality=1.0)
    return scenes.tell(scene).split(), scene


def _order(rng: random.Random, picker: Picker) -> Acceptable:
    """Neighbouring words keep their order."""
    words, _ = _scene_words(rng, picker)
    at = rng.choice((1, 2, 3))
    return Acceptable(tuple(words), "order", at, (words[at + 1], words[at]))


def _category(rng: random.Random, picker: Picker) -> Acceptable:
    """A noun, a verb and an adjective each stand in their own place."""
    words, scene = _scene_words(rng, picker)
    other = scenes.make(rng, picker, quality=1.0)
    at = rng.choice((1, 4))
    wrong = rng.choice(
        (other.noun_word, _quality(rng, picker)) if at == 1 else (other.verb_word, _quality(rng, picker))
    )
    return Acceptable(tuple(words), "category", at, (wrong,))


def _number(rng: random.Random, picker: Picker) -> Acceptable:
    """The determiner agrees with the noun."""
    many = rng.random() < 0.5
    noun = _member(rng, picker)
    right, wrong = ("these", "this") if many else ("this", "these")
    verb = picker.wording(rng, picker.sense(rng, lexicon.GENERAL_VERBS))
    words = (
        picker.word(rng, lexicon.NAMES),
        verb,
        right,
        _quality(rng, picker),
        lexicon.plural(noun) if many else noun,
    )
    return Acceptable(words, "number", 2, (wrong,))


def _doubled(rng: random.Random, picker: Picker) -> Acceptable:
    """A clause has one main verb."""
    words, _ = _scene_words(rng, picker)
    second = picker.wording(rng, picker.sense(rng, lexicon.GENERAL_VERBS))
    return Acceptable(tuple(words), "doubled", 1, (words[1], second))


def _missing(rng: random.Random, picker: Picker) -> Acceptable:
    """A singular noun has its determiner and a clause its verb."""
    words, _ = _scene_words(rng, picker)
    return Acceptable(tuple(words), "missing", rng.choice((1, 2)), ())


def _tense(rng: random.Random, picker: Picker) -> Acceptable:
    """An irregular verb has its own past tense."""
    words, _ = _scene_words(rng, picker)
    while words[1] not in _OVER_REGULAR:
        words, _ = _scene_words(rng, picker)
    return Acceptable(tuple(words), "tense", 1, (_OVER_REGULAR[words[1]],))


_PATTERNS = {
    "agreement": _agreement,
    "reflexive": _reflexive,
    "order": _order,
    "category": _category,
    "number": _number,
    "doubled": _doubled,
    "missing": _missing,
    "tense": _tense,
}
