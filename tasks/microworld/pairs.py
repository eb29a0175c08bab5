"""Second tellings of a scene: with the same meaning, with another one, or in the relation that a label names.

Pair tasks and the paraphrases and inferences of the corpus are made of these.
"""

from __future__ import annotations

import dataclasses
import random

from tasks.microworld import lexicon
from tasks.microworld.picker import Picker
from tasks.microworld.scenes import (
    Telling,
    add_quality,
    pick_place,
    reword,
    set_noun,
    set_quality,
    set_verb,
    swap_roles,
)

_VERBS = tuple(lexicon.VERBS)
_PERSON_VERBS = tuple(lexicon.PERSON_VERBS)
_OBJECTS = tuple(lexicon.OBJECTS)
_QUALITIES = tuple(lexicon.QUALITIES)
_KINDS = tuple(lexicon.KINDS)


def sibling(rng: random.Random, picker: Picker, noun: str, *, other_kind: bool) -> str:
    """Choose a noun that competes with another one.

    Args:
      rng: Source of randomness.
      picker: Chooses the word.
      noun: A kind, a member of a kind or a synonym set.
      other_kind: Whether a member is replaced by a member of another kind (else of the same).

    Returns:
      A sense of the same sort, with another meaning.
    """
    if noun in lexicon.KINDS:
        return rng.choice([kind for kind in _KINDS if kind != noun])
    if noun in lexicon.KIND_OF:
        kind = lexicon.KIND_OF[noun]
        if other_kind:
            return picker.word(rng, lexicon.KINDS[rng.choice([k for k in _KINDS if k != kind])])
        return picker.other(rng, lexicon.KINDS[kind], (noun,))
    return picker.sense(rng, _OBJECTS, (noun,))


def alter(rng: random.Random, picker: Picker, scene: Telling) -> Telling:
    """Change one sense of a scene.

    Args:
      rng: Source of randomness.
      picker: Chooses the words.
      scene: The scene.

    Returns:
      A scene that means something else and differs in one slot (or in the roles).
    """
    draw = rng.random()
    if scene.with_person:
        if draw < 0.6:
            return swap_roles(scene)
        return set_verb(rng, picker, scene, picker.sense(rng, _PERSON_VERBS, (scene.verb,)))
    if draw < 0.34 and scene.quality is not None:
        if rng.random() < 0.6 and picker.has_opposite(scene.quality):
            return set_quality(rng, picker, scene, lexicon.OPPOSITE[scene.quality])
        return set_quality(rng, picker, scene, picker.sense(rng, _QUALITIES, (scene.quality,)))
    if draw < 0.66:
        if rng.random() < 0.6 and picker.has_opposite(scene.verb):
            return set_verb(rng, picker, scene, lexicon.OPPOSITE[scene.verb])
        verbs = _VERBS if scene.noun in lexicon.OBJECTS else lexicon.GENERAL_VERBS
        return set_verb(rng, picker, scene, picker.sense(rng, verbs, (scene.verb,)))
    return set_noun(rng, picker, scene, sibling(rng, picker, scene.noun, other_kind=rng.random() < 0.5))


def paraphrase(rng: random.Random, picker: Picker, scene: Telling, changes: int) -> Telling:
    """Tell the same scene with synonyms in some slots.

    Args:
      rng: Source of randomness.
      picker: Chooses the words.
      scene: The scene.
      changes: How many slots get another word, at most as many as there are.

    Returns:
      A scene with the same meaning.
    """
    slots = scene.slots()
    return reword(rng, picker, scene, tuple(rng.sample(slots, min(changes, len(slots)))))


def near_copy(rng: random.Random, picker: Picker, scene: Telling, changes: int) -> Telling:
    """Change one sense of a scene and use synonyms in other slots, so that as many words change as in a paraphrase.

    Args:
      rng: Source of randomness.
      picker: Chooses the words.
      scene: The scene.
      changes: How many slots change in all.

    Returns:
      A scene with another meaning.
    """
    altered = alter(rng, picker, scene)
    same = [slot for slot in scene.slots() if getattr(scene, slot) == getattr(altered, slot)]
    return reword(rng, picker, altered, tuple(rng.sample(same, min(changes - 1, len(same)))))


def premise(rng: random.Random, picker: Picker, claim: Telling, label: str, changes: int) -> Telling:
    """Make a premise for a claim, so that claims are drawn alike for all labels and carry no hint.

    The premise differs from the claim in as many slots for each label: in an entailment all of them are reworded, else
    one of them means something else. Besides, it may say more than the claim.

    Args:
      rng: Source of randomness.
      picker: Chooses the words.
      claim: The claim.
      label: "entailment", "contradiction" or "neutral".
      changes: How many slots differ, at most as many as there are.

    Returns:
      The premise.

    Raises:
      ValueError: The label is unknown.
    """
    scene = claim
    if label == "neutral":
        scene = _leave_open(rng, picker, scene)
    elif label == "contradiction":
        scene = _oppose(rng, picker, scene)
    elif label != "entailment":
        raise ValueError(f"unknown label {label!r}")
    left = changes - (label != "entailment")
    # Some premises keep a kind, else a kind in the premise would give the label "neutral" away.
    if claim.noun in lexicon.KINDS and scene.noun in lexicon.KINDS and rng.random() < 0.75:
        left -= scene.noun == claim.noun
        scene = set_noun(rng, picker, scene, picker.word(rng, lexicon.KINDS[scene.noun]))
    same = [slot for slot in claim.slots() if getattr(claim, slot) == getattr(scene, slot)]
    scene = reword(rng, picker, scene, tuple(rng.sample(same, max(0, min(left, len(same))))))
    extra = rng.random()
    if extra < 0.4 and claim.quality is None:
        scene = add_quality(rng, picker, scene)
    elif extra < 0.7 and claim.place is None:
        scene = dataclasses.replace(scene, place=pick_place(rng, picker))
    return scene


def _leave_open(rng: random.Random, picker: Picker, claim: Telling) -> Telling:
    """Change a claim into something that neither implies nor excludes it.

    Mostly one thing stands for another, so that counting words does not show it: another person, or an adjective of
    another dimension. Sometimes the premise says less.
    """
    draw = rng.random()
    if draw < 0.4 and claim.quality is not None:
        avoid = (claim.quality, lexicon.OPPOSITE[claim.quality])
        return set_quality(rng, picker, claim, picker.sense(rng, _QUALITIES, avoid))
    if draw < 0.5 and claim.noun in lexicon.KIND_OF:
        kind = lexicon.KIND_OF[claim.noun]
        return dataclasses.replace(claim, noun=kind, noun_word=kind)
    if draw < 0.6 and claim.place is not None:
        return dataclasses.replace(claim, place=None)
    return dataclasses.replace(claim, agent=picker.other(rng, lexicon.NAMES, (claim.agent,)))


def _oppose(rng: random.Random, picker: Picker, claim: Telling) -> Telling:
    """Turn one slot of a claim into something that cannot hold together with it."""
    options = ["noun"] * (3 if claim.noun in lexicon.KINDS else 1)
    if claim.quality is not None and picker.has_opposite(claim.quality):
        options += ["quality"] * 2
    if picker.has_opposite(claim.verb):
        options.append("verb")
    option = rng.choice(options)
    if option == "quality":
        return set_quality(rng, picker, claim, lexicon.OPPOSITE[claim.quality or ""])
    if option == "verb":
        return set_verb(rng, picker, claim, lexicon.OPPOSITE[claim.verb])
    return set_noun(rng, picker, claim, sibling(rng, picker, claim.noun, other_kind=True))
