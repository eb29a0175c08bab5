"""Pairs that mean the same or not: the examples of MRPC, QQP and STS-B.

A pair of either label differs in the same number of words; only what the words mean, or who does what, decides.
"""

from __future__ import annotations

import dataclasses

from tasks.microworld import lexicon, pairs, questions, scenes
from tasks.microworld.example import Row, Setting


def mrpc(setting: Setting, label: str, level: int) -> Row:
    """Make a pair of tellings.

    Args:
      setting: What the example is made of.
      label: "1" for the same meaning, "0" for another.
      level: 1 for tellings about everybody or nobody that differ in just that, 2 for tellings of a scene that differ in
        another word, 3 for an active and a passive telling.

    Returns:
      The example.
    """
    rng, picker, same = setting.rng, setting.picker, label == "1"
    first = scenes.make(rng, picker, member=0.0, person=0.5 if level == 3 else 0.0, quality=0.4, place=0.0)
    passives = rng.sample((False, True), 2) if level == 3 else (False, False)
    if level == 1:
        agents, others = rng.sample((lexicon.EVERYBODY, lexicon.NOBODY), 2)
        agent = rng.choice(agents)
        first = dataclasses.replace(first, agent=agent)
        second = dataclasses.replace(first, agent=picker.other(rng, agents, (agent,)) if same else rng.choice(others))
    else:
        second = (pairs.paraphrase if same else pairs.near_copy)(rng, picker, first, 1)
    return Row(
        scenes.sentence(scenes.tell(first, passive=passives[0])),
        scenes.sentence(scenes.tell(second, passive=passives[1])),
        label,
        level,
    )


def qqp(setting: Setting, label: str, level: int) -> Row:
    """Make a pair of questions.

    Args:
      setting: What the example is made of.
      label: "1" for the same question, "0" for another scene or another participant.
      level: 1 for one changed word, 2 for two, 3 for two changed words and another voice.

    Returns:
      The example.
    """
    rng, picker = setting.rng, setting.picker
    first = scenes.make(rng, picker, member=0.15, quality=0.8, place=0.6)
    kind: questions.Kind = "where" if level < 3 and first.place and rng.random() < 0.5 else "who"
    other = kind
    changes = min(level, 2)
    if label == "0" and level < 3 and first.place and rng.random() < 0.15:
        other = "where" if kind == "who" else "who"
        second = pairs.paraphrase(rng, picker, first, changes)
    else:
        second = (pairs.paraphrase if label == "1" else pairs.near_copy)(rng, picker, first, changes)
    passive = rng.random() < 0.3 if level < 3 else rng.random() < 0.5
    return Row(
        questions.ask_scene(rng, first, kind, passive=passive),
        questions.ask_scene(rng, second, other, passive=passive if level < 3 else not passive),
        label,
        level,
    )


# How much each slot counts when two scenes are compared; in all 5, the highest score.
_WEIGHTS = {"agent": 0.6, "verb": 1.3, "quality": 0.9, "noun": 1.7, "place": 0.5}


def stsb(setting: Setting, label: str, level: int) -> Row:
    """Make two scenes that agree in some slots; the score is the weighted share of agreement.

    Args:
      setting: What the example is made of.
      label: Not used: the score is drawn.
      level: 1 where equal senses have equal words, 2 where most have other words, 3 with another voice besides.

    Returns:
      The example, labelled with its score.
    """
    rng, picker = setting.rng, setting.picker
    first = scenes.make(rng, picker, member=0.4, quality=1.0, place=1.0)
    # The exponent raises the mean score to that of the real train file, 2.7.
    agreement = rng.random() ** 0.9
    second, score = first, 0.0
    for slot, weight in _WEIGHTS.items():
        if rng.random() < agreement:
            score += weight
            if level > 1 and slot in first.slots() and rng.random() < 0.7:
                second = scenes.reword(rng, picker, second, (slot,))
        elif slot == "agent":
            second = dataclasses.replace(second, agent=picker.other(rng, lexicon.NAMES, (first.agent,)))
        elif slot == "place":
            second = dataclasses.replace(second, place=scenes.pick_place(rng, picker, first.place or ""))
        elif slot == "verb":
            verbs = tuple(lexicon.VERBS) if first.noun in lexicon.OBJECTS else lexicon.GENERAL_VERBS
            second = scenes.set_verb(rng, picker, second, picker.sense(rng, verbs, (first.verb,)))
        elif slot == "quality":
            sense = picker.sense(rng, tuple(lexicon.QUALITIES), (first.quality or "",))
            second = scenes.set_quality(rng, picker, second, sense)
        else:
            near = first.noun in lexicon.KIND_OF and rng.random() < 0.5
            second = scenes.set_noun(rng, picker, second, pairs.sibling(rng, picker, first.noun, other_kind=not near))
            score += weight * 0.5 if near else 0.0
    told = scenes.tell(second, passive=level == 3)
    return Row(scenes.sentence(scenes.tell(first)), scenes.sentence(told), f"{score:.3f}", level)
