"""Sentences that judge something: the sentences of SST-2 and the reviews of the corpus."""

from __future__ import annotations

import random

from tasks.microworld import lexicon
from tasks.microworld.picker import Picker


def judge(rng: random.Random, picker: Picker, thing: str, *, good: bool) -> str:
    """Make a clause that judges a thing with one or two polar words.

    Args:
      rng: Source of randomness.
      picker: Chooses the words.
      thing: What is judged, without article.
      good: Whether the judgement is good.

    Returns:
      The clause, without negation.
    """
    adjective = picker.word(rng, lexicon.POSITIVE if good else lexicon.NEGATIVE)
    verb = picker.word(rng, lexicon.LIKED if good else lexicon.DISLIKED)
    noun = picker.word(rng, lexicon.TRIUMPHS if good else lexicon.FAILURES)
    who = rng.choice(lexicon.REVIEWERS)
    frame = rng.randrange(9)
    if frame < 2:
        return f"the {thing} was {_intense(rng, adjective)}"
    if frame == 2:
        return f"it was {lexicon.article(_intense(rng, adjective))} {thing}"
    if frame == 3:
        return f"{who} found the {thing} {_intense(rng, adjective)}"
    if frame == 4:
        second = picker.other(rng, lexicon.POSITIVE if good else lexicon.NEGATIVE, (adjective,))
        return f"the {thing} was {adjective} and {second}"
    if frame == 5:
        return f"{who} {verb} the {adjective} {thing}"
    if frame == 6:
        return f"{who} {verb} the {thing}"
    if frame == 7:
        return f"{who} said that the {thing} was {lexicon.article(noun)}"
    return f"the {thing} was {lexicon.article(adjective)} {noun}"


def negated(rng: random.Random, picker: Picker, thing: str, *, good: bool) -> str:
    """Make a clause that judges a thing by denying the opposite.

    Args:
      rng: Source of randomness.
      picker: Chooses the words.
      thing: What is judged, without article.
      good: Whether the judgement is good after the negation.

    Returns:
      The clause, with a negated polar word of the other side.
    """
    adjective = picker.word(rng, lexicon.NEGATIVE if good else lexicon.POSITIVE)
    verb = picker.word(rng, lexicon.DISLIKED if good else lexicon.LIKED)
    frame = rng.randrange(6)
    if frame == 0:
        return f"the {thing} was not {_intense(rng, adjective)}"
    if frame == 1:
        return f"the {thing} was never {adjective}"
    if frame == 2:
        return f"{rng.choice(lexicon.REVIEWERS)} said that the {thing} was not {adjective}"
    if frame == 3:
        return f"it was not {lexicon.article(adjective)} {thing}"
    if frame == 4:
        return f"nobody found the {thing} {adjective}"
    return f"nobody {verb} the {thing}"


def contrast(rng: random.Random, picker: Picker, thing: str, *, good: bool) -> str:
    """Make a sentence of two opposite judgements in which the main clause decides.

    Args:
      rng: Source of randomness.
      picker: Chooses the words.
      thing: What the main clause judges, without article.
      good: Whether the main clause is good.

    Returns:
      The sentence as one clause string.
    """
    other = rng.choice([noun for noun in lexicon.REVIEWED if noun != thing])
    minor = picker.word(rng, lexicon.NEGATIVE if good else lexicon.POSITIVE)
    main = picker.word(rng, lexicon.POSITIVE if good else lexicon.NEGATIVE)
    if rng.random() < 0.5:
        return f"although the {other} was {minor}, the {thing} was {main}"
    return f"the {thing} was {main} although the {other} was {minor}"


def opinion(rng: random.Random, picker: Picker, *, good: bool, level: int) -> str:
    """Make a sentence for the sentiment task.

    Args:
      rng: Source of randomness.
      picker: Chooses the words.
      good: The polarity.
      level: 1 for a judgement, 2 for a denied one, 3 for two opposite ones of which the main clause decides.

    Returns:
      A clause without capital and full stop.
    """
    make = {1: judge, 2: negated, 3: contrast}[level]
    return make(rng, picker, rng.choice(lexicon.REVIEWED), good=good)


def reason(rng: random.Random, picker: Picker, thing: str, *, good: bool) -> str:
    """Make a clause that gives the reason of an opinion, so that two polar words of one side meet.

    Args:
      rng: Source of randomness.
      picker: Chooses the words.
      thing: What is judged, without article.
      good: Whether the judgement is good.

    Returns:
      The clause.
    """
    verb = picker.word(rng, lexicon.LIKED if good else lexicon.DISLIKED)
    adjective = picker.word(rng, lexicon.POSITIVE if good else lexicon.NEGATIVE)
    return f"{rng.choice(lexicon.REVIEWERS)} {verb} the {thing} because it was {_intense(rng, adjective)}"


def verdict(rng: random.Random, picker: Picker, thing: str, *, good: bool) -> str:
    """Make a clause in which a polar word stands beside "good" or "bad", so that the neighbour tells its side.

    Args:
      rng: Source of randomness.
      picker: Chooses the words.
      thing: What is judged, without article.
      good: Whether the judgement is good.

    Returns:
      The clause.
    """
    side, other = (lexicon.POSITIVE, lexicon.NEGATIVE) if good else (lexicon.NEGATIVE, lexicon.POSITIVE)
    plain = "good" if good else "bad"
    word, denied = picker.word(rng, side), picker.word(rng, other)
    second = picker.other(rng, side, (word,))
    verb = picker.word(rng, lexicon.LIKED if good else lexicon.DISLIKED)
    who = rng.choice(lexicon.REVIEWERS)
    frames = (
        f"the {thing} was {word} {plain}",
        f"it was {lexicon.article(word)} {plain} {thing}",
        f"this {plain} {word} {thing} was {plain} {second}",
        f"the {thing} was not {denied} but {word} {plain}",
        f"the {thing} was not {denied} but {plain} {word}",
        f"{who} {verb} {plain} {thing}s",
        f"{who} {verb} this {word} {plain} {thing}",
        f"the {thing} was a {plain} {picker.word(rng, lexicon.TRIUMPHS if good else lexicon.FAILURES)}",
    )
    return rng.choice(frames)


def _intense(rng: random.Random, adjective: str) -> str:
    """Put an intensifier before some adjectives."""
    return f"{rng.choice(lexicon.INTENSIFIERS)} {adjective}" if rng.random() < 0.3 else adjective
