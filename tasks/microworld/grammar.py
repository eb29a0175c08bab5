"""Acceptable sentences and minimal edits that break them: the sentences of CoLA."""

from __future__ import annotations

import dataclasses
import random

from tasks.microworld import lexicon, scenes
from tasks.microworld.picker import Picker

_QUALITIES = tuple(lexicon.QUALITIES)
# An over-regular past tense is an error that a model can learn from the task's own training rows; it comes twice as
# often as the others, so that a model without pretraining is better than chance and still far from a pretrained one.
_EDITS = {
    1: ("tense", "tense", "order", "doubled", "missing"),
    2: ("category", "number", "reflexive", "agreement"),
    3: ("far agreement", "far reflexive"),
}
_OVER_REGULAR = {"sold": "selled", "bought": "buyed", "found": "finded", "lost": "losed", "built": "builded"}


@dataclasses.dataclass(frozen=True, slots=True)
class Acceptable:
    """An acceptable sentence with the places where it can be broken.

    Attributes:
      words: The words, without the full stop.
      at: Position of the word that the edit concerns.
      wrong: The words that the edit puts there.
      width: How many words it replaces.
    """

    words: tuple[str, ...]
    at: int
    wrong: tuple[str, ...]
    width: int = 1

    def broken(self) -> tuple[str, ...]:
        """Apply the edit.

        Returns:
          The words of the unacceptable sentence.
        """
        return self.words[: self.at] + self.wrong + self.words[self.at + self.width :]


def acceptability(rng: random.Random, picker: Picker, *, acceptable: bool, level: int) -> str:
    """Make a sentence for the acceptability task.

    Args:
      rng: Source of randomness.
      picker: Chooses the words.
      acceptable: Whether the sentence is left whole.
      level: 1 for errors in the form or order of words, 2 for words of a wrong class, gender or number, 3 for agreement
        with a word that is not the nearest one of its sort.

    Returns:
      The sentence.
    """
    pattern = _PATTERNS[rng.choice(_EDITS[level])](rng, picker)
    return scenes.sentence(" ".join(pattern.words if acceptable else pattern.broken()))


def _member(rng: random.Random, picker: Picker) -> str:
    """Choose a member of any kind."""
    return picker.word(rng, lexicon.KINDS[rng.choice(tuple(lexicon.KINDS))])


def _quality(rng: random.Random, picker: Picker) -> str:
    """Choose an adjective."""
    return picker.wording(rng, picker.sense(rng, _QUALITIES))


def _agreement(rng: random.Random, picker: Picker) -> Acceptable:
    """The verb agrees with its subject, which stands right before it."""
    many = rng.random() < 0.5
    subject = _member(rng, picker)
    return _agreeing(rng, picker, ["the", lexicon.plural(subject) if many else subject], many=many)


def _far_agreement(rng: random.Random, picker: Picker) -> Acceptable:
    """The verb agrees with its subject, not with the nearer noun."""
    many = rng.random() < 0.5
    subject, near = _member(rng, picker), rng.choice(lexicon.SITES)
    words = ["the", lexicon.plural(subject) if many else subject]
    words += ["near", "the", lexicon.plural(near) if rng.random() < 0.5 else near]
    return _agreeing(rng, picker, words, many=many)


def _agreeing(rng: random.Random, picker: Picker, subject: list[str], *, many: bool) -> Acceptable:
    """Put a verb that agrees and an adjective after a subject."""
    verbs = rng.choice((("was", "were"), ("is", "are"), ("has been", "have been")))
    right, wrong = verbs[many], verbs[not many]
    words = (*subject, *right.split(), _quality(rng, picker))
    return Acceptable(words, len(subject), tuple(wrong.split()[:1]))


def _reflexive(rng: random.Random, picker: Picker) -> Acceptable:
    """The reflexive pronoun agrees with the name, the only one."""
    return _reflecting(rng, picker, far=False)


def _far_reflexive(rng: random.Random, picker: Picker) -> Acceptable:
    """The reflexive pronoun agrees with the name that leads, not with a nearer one of the other gender."""
    return _reflecting(rng, picker, far=True)


def _reflecting(rng: random.Random, picker: Picker, *, far: bool) -> Acceptable:
    """Make a sentence with a reflexive pronoun; `far` puts another name between it and its own."""
    female = rng.random() < 0.5
    names = (lexicon.FEMALE, lexicon.MALE) if female else (lexicon.MALE, lexicon.FEMALE)
    verb = picker.wording(rng, picker.sense(rng, tuple(lexicon.PERSON_VERBS)))
    pronouns = ("herself", "himself") if female else ("himself", "herself")
    words = [picker.word(rng, names[0])]
    if far:
        words += ["with", picker.word(rng, names[1])]
    tail = scenes.place_phrase(scenes.pick_place(rng, picker)).split() if not far and rng.random() < 0.5 else []
    words += [verb, pronouns[0], *tail]
    return Acceptable(tuple(words), words.index(pronouns[0]), (pronouns[1],))


def _scene_words(rng: random.Random, picker: Picker) -> tuple[list[str], scenes.Telling]:
    """Tell a scene with an adjective as a list of words: agent, verb, article, adjective, noun and maybe a place."""
    scene = scenes.make(rng, picker, quality=1.0)
    return scenes.tell(scene).split(), scene


def _order(rng: random.Random, picker: Picker) -> Acceptable:
    """Neighbouring words keep their order."""
    words, _ = _scene_words(rng, picker)
    at = rng.choice((1, 2, 3))
    return Acceptable(tuple(words), at, (words[at + 1], words[at]), width=2)


def _category(rng: random.Random, picker: Picker) -> Acceptable:
    """A noun, a verb and an adjective each stand in their own place."""
    words, scene = _scene_words(rng, picker)
    other = scenes.make(rng, picker, quality=1.0)
    at = rng.choice((1, 4))
    wrong = rng.choice(
        (other.noun_word, _quality(rng, picker)) if at == 1 else (other.verb_word, _quality(rng, picker))
    )
    return Acceptable(tuple(words), at, (wrong,))


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
    return Acceptable(words, 2, (wrong,))


def _doubled(rng: random.Random, picker: Picker) -> Acceptable:
    """A clause has one main verb."""
    words, _ = _scene_words(rng, picker)
    second = picker.wording(rng, picker.sense(rng, lexicon.GENERAL_VERBS))
    return Acceptable(tuple(words), 1, (words[1], second))


def _missing(rng: random.Random, picker: Picker) -> Acceptable:
    """A singular noun has its determiner and a clause its verb."""
    words, _ = _scene_words(rng, picker)
    return Acceptable(tuple(words), rng.choice((1, 2)), ())


def _tense(rng: random.Random, picker: Picker) -> Acceptable:
    """An irregular verb has its own past tense."""
    words, _ = _scene_words(rng, picker)
    while words[1] not in _OVER_REGULAR:
        words, _ = _scene_words(rng, picker)
    return Acceptable(tuple(words), 1, (_OVER_REGULAR[words[1]],))


_PATTERNS = {
    "agreement": _agreement,
    "far agreement": _far_agreement,
    "reflexive": _reflexive,
    "far reflexive": _far_reflexive,
    "order": _order,
    "category": _category,
    "number": _number,
    "doubled": _doubled,
    "missing": _missing,
    "tense": _tense,
}
