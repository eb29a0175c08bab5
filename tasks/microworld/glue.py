"""Rows of the GLUE tasks: sentences or pairs with their labels, before they are put into a file layout."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

from tasks.microworld import corpus, grammar, lexicon, opinions, pairs, questions, scenes
from tasks.microworld.picker import EVAL, TRAIN, Picker
from tasks.microworld.world import Fact, World, ask, state


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One example.

    Attributes:
      first: The sentence, or the first of a pair.
      second: The second of a pair, else empty.
      label: The official label text.
      genre: The genre, for MNLI.
    """

    first: str
    second: str
    label: str
    genre: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """What a row maker needs.

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


# Labels of each task with their shares in percent.
LABELS: dict[str, dict[str, int]] = {
    "CoLA": {"1": 70, "0": 30},
    "SST-2": {"1": 52, "0": 48},
    "MRPC": {"1": 66, "0": 34},
    "STS-B": {"": 100},
    "QQP": {"0": 60, "1": 40},
    "MNLI": {"entailment": 34, "neutral": 33, "contradiction": 33},
    "QNLI": {"entailment": 50, "not_entailment": 50},
    "RTE": {"entailment": 50, "not_entailment": 50},
}
MATCHED = ("fiction", "travel", "government")
MISMATCHED = ("letters", "telephone")


def rows(seed: int, task: str, split: str, world: World, count: int) -> list[Row]:
    """Make the rows of one file.

    Args:
      seed: The seed.
      task: A key of `LABELS`.
      split: "train", or a name that starts with "dev" or "test".
      world: The world.
      count: Number of rows.

    Returns:
      The rows, in random order, with the label shares of `LABELS` and without repetition.
    """
    rng = random.Random(f"{seed}/glue/{task}/{split}")
    setting = Setting(
        rng=rng,
        picker=TRAIN if split == "train" else EVAL,
        world=world,
        genres=MISMATCHED if split.endswith("mismatched") else MATCHED,
    )
    shares = LABELS[task]
    labels = [label for label, share in shares.items() for _ in range(round(count * share / 100))]
    labels = (labels + [next(iter(shares))] * count)[:count]
    rng.shuffle(labels)
    done: set[tuple[str, str]] = set()
    found = []
    for label in labels:
        row = _MAKERS[task](setting, label)
        # Short sentences can repeat; give up after some tries rather than forbid it.
        for _ in range(20):
            if (row.first, row.second) not in done:
                break
            row = _MAKERS[task](setting, label)
        done.add((row.first, row.second))
        found.append(row)
    return found


def _cola(setting: Setting, label: str) -> Row:
    """Acceptable or broken sentence."""
    return Row(grammar.acceptability(setting.rng, setting.picker, acceptable=label == "1"), "", label)


def _sst2(setting: Setting, label: str) -> Row:
    """Judgement in lower case with separated marks, as in the official files."""
    text = opinions.opinion(setting.rng, setting.picker, good=label == "1")
    return Row(text.replace(",", " ,") + " . ", "", label)


def _mrpc(setting: Setting, label: str) -> Row:
    """Two tellings that differ in one word, a synonym or not; mostly the object, in aligned frames."""
    rng, picker = setting.rng, setting.picker
    if rng.random() < 0.15:
        first = scenes.make(rng, picker, member=0.0, person=0.2, quality=0.8, place=0.2)
        second = (pairs.paraphrase if label == "1" else pairs.near_copy)(rng, picker, first, 1)
    else:
        first = scenes.make(rng, picker, member=0.0, quality=0.0, place=0.0)
        slot = "noun" if rng.random() < 0.8 else "verb"
        if label == "1":
            second = scenes.reword(rng, picker, first, (slot,))
        elif slot == "noun":
            second = scenes.set_noun(rng, picker, first, pairs.sibling(rng, picker, first.noun, other_kind=True))
        else:
            verb = picker.sense(rng, tuple(lexicon.VERBS), (first.verb,))
            second = scenes.set_verb(rng, picker, first, verb)
    passive = rng.random() < 0.1
    return Row(
        scenes.sentence(scenes.tell(first, passive=passive)),
        scenes.sentence(scenes.tell(second, passive=passive)),
        label,
    )


def _stsb(setting: Setting, label: str) -> Row:
    """Two scenes that agree in some slots; the score is the weighted share of agreement."""
    rng, picker = setting.rng, setting.picker
    first = scenes.make(rng, picker, member=0.4, quality=1.0, place=1.0)
    agreement = rng.random()
    second, score = first, 0.0
    for slot, weight in (("agent", 0.6), ("verb", 1.3), ("quality", 0.9), ("noun", 1.7), ("place", 0.5)):
        if rng.random() < agreement:
            score += weight
            if slot in first.slots() and rng.random() < 0.5:
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
    return Row(scenes.sentence(scenes.tell(first)), scenes.sentence(scenes.tell(second)), f"{score:.3f}")


def _qqp(setting: Setting, label: str) -> Row:
    """The same question in other words, or a question about another scene or participant."""
    rng, picker = setting.rng, setting.picker
    first = scenes.make(rng, picker, member=0.15, quality=0.8, place=0.6)
    kinds: list[questions.Kind] = ["who", "where"] if first.place else ["who"]
    kind = other = rng.choice(kinds)
    if label == "0" and first.place and rng.random() < 0.15:
        other = "where" if kind == "who" else "who"
        second = pairs.paraphrase(rng, picker, first, 1)
    else:
        make = pairs.paraphrase if label == "1" else pairs.near_copy
        second = make(rng, picker, first, rng.choice((1, 2, 2)))
    return Row(questions.ask_scene(rng, first, kind), questions.ask_scene(rng, second, other), label)


def _mnli(setting: Setting, label: str) -> Row:
    """A sentence of some genre and a claim."""
    rng, picker = setting.rng, setting.picker
    claim = scenes.make(rng, picker, kind=0.3, member=0.3, quality=0.7, place=0.5)
    given = pairs.premise(rng, picker, claim, label)
    genre = rng.choice(setting.genres)
    first = corpus.in_genre(rng, scenes.tell(given), genre)
    return Row(first, scenes.sentence(scenes.tell(claim)), label, genre)


def _rte(setting: Setting, label: str) -> Row:
    """A sentence and a claim about a kind of thing; sometimes about everybody or nobody, a synonym or an opposite.

    What holds for everybody or nobody can be learnt from the task's own training rows: a model without pretraining is
    better than chance by that, and by no more than that.
    """
    rng, picker = setting.rng, setting.picker
    draw = rng.random()
    if draw < 0.3:
        claim = scenes.make(rng, picker, kind=1.0, member=0.0, quality=0.0, place=0.0)
        given = scenes.set_noun(rng, picker, claim, picker.word(rng, lexicon.KINDS[claim.noun]))
        given = dataclasses.replace(given, agent="everybody" if label == "entailment" else "nobody")
    elif draw < 0.4:
        claim = scenes.make(rng, picker, kind=0.75, member=0.0, quality=0.4, place=0.35)
        given = pairs.premise(rng, picker, claim, "entailment" if label == "entailment" else "contradiction")
    else:
        claim = scenes.make(rng, picker, kind=1.0, member=0.0, quality=0.0, place=0.0)
        kind = claim.noun if label == "entailment" else pairs.sibling(rng, picker, claim.noun, other_kind=True)
        given = scenes.set_noun(rng, picker, claim, picker.word(rng, lexicon.KINDS[kind]))
    return Row(scenes.sentence(scenes.tell(given)), scenes.sentence(scenes.tell(claim)), label)


def _qnli(setting: Setting, label: str) -> Row:
    """A question and a sentence that answers it, or one about another relation, scene or entity."""
    rng, picker, training = setting.rng, setting.picker, setting.picker is TRAIN
    if rng.random() < 0.3:
        scene = scenes.make(rng, picker, member=0.2, place=1.0)
        make = pairs.paraphrase if label == "entailment" else pairs.near_copy
        kind: questions.Kind = rng.choice(("who", "where"))
        question = questions.ask_scene(rng, make(rng, picker, scene, rng.choice((1, 2))), kind, definite=True)
        return Row(question, scenes.sentence(scenes.tell(scene)), label)
    group = rng.choice((setting.world.people, setting.world.towns, setting.world.companies))
    subjects = tuple(name for name in group if not training or lexicon.is_seen(name))
    subject = rng.choice(subjects)
    fact = rng.choice(group[subject])
    told: Fact = fact
    if label == "not_entailment":
        if rng.random() < 0.2:
            other = rng.choice([name for name in subjects if name != subject])
            told = next(item for item in group[other] if item.relation == fact.relation)
        else:
            told = rng.choice([item for item in group[subject] if item.relation != fact.relation])
    return Row(ask(rng, fact, held_out=not training), state(rng, told), label)


_MAKERS: dict[str, Callable[[Setting, str], Row]] = {
    "CoLA": _cola,
    "SST-2": _sst2,
    "MRPC": _mrpc,
    "STS-B": _stsb,
    "QQP": _qqp,
    "MNLI": _mnli,
    "QNLI": _qnli,
    "RTE": _rte,
}
