"""Scenes: who did what to which thing where, their wording, and changes of single slots.

A scene holds senses; a `Telling` is a scene with a word chosen for each sense.
"""

from __future__ import annotations

import dataclasses
import random

from tasks.microworld import lexicon
from tasks.microworld.picker import Picker

_VERBS = tuple(lexicon.VERBS)
_PERSON_VERBS = tuple(lexicon.PERSON_VERBS)
_OBJECTS = tuple(lexicon.OBJECTS)
_QUALITIES = tuple(lexicon.QUALITIES)
_KINDS = tuple(lexicon.KINDS)


@dataclasses.dataclass(frozen=True, slots=True)
class Telling:
    """A scene with its words.

    Attributes:
      agent: First name of the person who acts.
      verb: Sense of the verb.
      noun: Sense of the object: a synonym set, a kind, a member of a kind, or a person's first name.
      quality: Sense of the adjective, or None.
      place: Town or site, or None.
      verb_word: The verb as worded.
      noun_word: The noun as worded.
      quality_word: The adjective as worded, or None.
    """

    agent: str
    verb: str
    noun: str
    quality: str | None
    place: str | None
    verb_word: str
    noun_word: str
    quality_word: str | None

    @property
    def with_person(self) -> bool:
        """Whether the object is a person."""
        return self.verb in lexicon.PERSON_VERBS

    def slots(self) -> tuple[str, ...]:
        """Name the slots whose sense can be reworded.

        Returns:
          Some of "verb", "noun" and "quality".
        """
        found = ["verb"]
        if self.noun in lexicon.OBJECTS:
            found.append("noun")
        if self.quality is not None:
            found.append("quality")
        return tuple(found)


def place_phrase(place: str) -> str:
    """Put a place into an adverbial.

    Args:
      place: Town or site.

    Returns:
      A phrase such as "in Velmont" or "near the bridge".
    """
    return f"in {place}" if place[0].isupper() else f"near the {place}"


def object_phrase(scene: Telling, *, definite: bool = False) -> str:
    """Put the object of a scene into a noun phrase.

    Args:
      scene: The scene.
      definite: Whether to use the definite article.

    Returns:
      The noun phrase; a name where the object is a person.
    """
    if scene.with_person:
        return scene.noun_word
    words = f"{scene.quality_word} {scene.noun_word}" if scene.quality_word else scene.noun_word
    return f"the {words}" if definite else lexicon.article(words)


def tell(scene: Telling, *, passive: bool = False, fronted: bool = False) -> str:
    """Put a scene into a clause without capital and full stop.

    Args:
      scene: The scene.
      passive: Whether to use the passive voice.
      fronted: Whether the place comes first.

    Returns:
      The clause.
    """
    thing = object_phrase(scene)
    core = f"{thing} was {scene.verb_word} by {scene.agent}" if passive else f"{scene.agent} {scene.verb_word} {thing}"
    if scene.place is None:
        return core
    phrase = place_phrase(scene.place)
    return f"{phrase}, {core}" if fronted else f"{core} {phrase}"


def sentence(clause: str, end: str = ".") -> str:
    """Make a sentence of a clause.

    Args:
      clause: The clause.
      end: Its final mark.

    Returns:
      The clause with a capital and the mark.
    """
    return clause[0].upper() + clause[1:] + end


def deny(clause: str) -> str:
    """Deny a clause.

    Args:
      clause: The clause.

    Returns:
      A clause that holds where the given one does not.
    """
    return f"it is false that {clause}"


# Frames that mark the genre of a text; {} is a clause. The last two are the mismatched genres of MNLI.
GENRES: dict[str, tuple[str, ...]] = {
    "fiction": ("{}.", "once {}.", "one day {}."),
    "travel": ("{}.", "on the tour {}.", "during the trip {}."),
    "government": ("{}.", "the report says that {}.", "it is recorded that {}."),
    "letters": ("dear friend, {}.", "i write to you that {}.", "with best wishes, {}."),
    "telephone": ("well, {}, you know.", "yeah, {}.", "uh, i heard that {}."),
}


def in_genre(rng: random.Random, clause: str, genre: str) -> str:
    """Put a clause into a sentence of a genre.

    Args:
      rng: Source of randomness.
      clause: The clause.
      genre: A key of `GENRES`.

    Returns:
      The sentence.
    """
    return sentence(rng.choice(GENRES[genre]).format(clause), "")


def make(
    rng: random.Random,
    picker: Picker,
    *,
    member: float = 0.3,
    kind: float = 0.0,
    person: float = 0.0,
    quality: float = 0.6,
    place: float = 0.5,
) -> Telling:
    """Make a scene and choose its words.

    Args:
      rng: Source of randomness.
      picker: Chooses the words.
      member: Share of scenes whose object is a member of a kind.
      kind: Share of scenes whose object is a kind.
      person: Share of scenes whose object is a person.
      quality: Share of scenes with an adjective.
      place: Share of scenes with a place.

    Returns:
      The scene.
    """
    draw = rng.random()
    agent = picker.word(rng, lexicon.NAMES)
    where = pick_place(rng, picker) if rng.random() < place else None
    if draw < person:
        verb = picker.sense(rng, _PERSON_VERBS)
        other = picker.other(rng, lexicon.NAMES, (agent,))
        return Telling(agent, verb, other, None, where, picker.wording(rng, verb), other, None)
    if draw < person + member:
        noun = noun_word = picker.word(rng, lexicon.KINDS[rng.choice(_KINDS)])
    elif draw < person + member + kind:
        noun = noun_word = rng.choice(_KINDS)
    else:
        noun = picker.sense(rng, _OBJECTS)
        noun_word = picker.wording(rng, noun)
    verb = picker.sense(rng, _VERBS if noun in lexicon.OBJECTS else lexicon.GENERAL_VERBS)
    trait = picker.sense(rng, _QUALITIES) if rng.random() < quality else None
    return Telling(
        agent,
        verb,
        noun,
        trait,
        where,
        picker.wording(rng, verb),
        noun_word,
        picker.wording(rng, trait) if trait else None,
    )


def pick_place(rng: random.Random, picker: Picker, avoid: str = "") -> str:
    """Choose a town or a site.

    Args:
      rng: Source of randomness.
      picker: Chooses the words.
      avoid: A place that must not be chosen.

    Returns:
      The place.
    """
    return picker.other(rng, lexicon.TOWNS if rng.random() < 0.5 else lexicon.SITES, (avoid,))


def reword(rng: random.Random, picker: Picker, scene: Telling, slots: tuple[str, ...]) -> Telling:
    """Use a synonym in some slots.

    Args:
      rng: Source of randomness.
      picker: Chooses the words.
      scene: The scene.
      slots: Names of the slots.

    Returns:
      A scene with the same meaning.
    """
    changes = {
        f"{slot}_word": picker.synonym(rng, getattr(scene, slot), getattr(scene, f"{slot}_word")) for slot in slots
    }
    return dataclasses.replace(scene, **changes)


def add_quality(rng: random.Random, picker: Picker, scene: Telling) -> Telling:
    """Add an adjective to a scene that has none.

    Args:
      rng: Source of randomness.
      picker: Chooses the words.
      scene: The scene.

    Returns:
      A scene that says more.
    """
    sense = picker.sense(rng, _QUALITIES)
    return dataclasses.replace(scene, quality=sense, quality_word=picker.wording(rng, sense))


def set_quality(rng: random.Random, picker: Picker, scene: Telling, sense: str) -> Telling:
    """Use an adjective of another sense.

    Args:
      rng: Source of randomness.
      picker: Chooses the word.
      scene: The scene.
      sense: The new sense.

    Returns:
      A scene with another meaning.
    """
    return dataclasses.replace(scene, quality=sense, quality_word=picker.wording(rng, sense))


def set_verb(rng: random.Random, picker: Picker, scene: Telling, sense: str) -> Telling:
    """Use a verb of another sense.

    Args:
      rng: Source of randomness.
      picker: Chooses the word.
      scene: The scene.
      sense: The new sense.

    Returns:
      A scene with another meaning.
    """
    return dataclasses.replace(scene, verb=sense, verb_word=picker.wording(rng, sense))


def set_noun(rng: random.Random, picker: Picker, scene: Telling, sense: str) -> Telling:
    """Use a noun of another sense.

    Args:
      rng: Source of randomness.
      picker: Chooses the word.
      scene: The scene.
      sense: The new sense.

    Returns:
      A scene with another meaning.
    """
    return dataclasses.replace(scene, noun=sense, noun_word=picker.wording(rng, sense))


def swap_roles(scene: Telling) -> Telling:
    """Exchange the two people of a scene.

    Args:
      scene: A scene whose object is a person.

    Returns:
      A scene with another meaning and the same words.
    """
    return dataclasses.replace(scene, agent=scene.noun, noun=scene.agent, noun_word=scene.agent)
