"""Paragraphs with questions for SQuAD: facts of the world, or scenes, with distractors of the same type."""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Collection
from typing import Any

from tasks.microworld import lexicon, pairs, questions, scenes
from tasks.microworld.picker import EVAL, TRAIN, Picker
from tasks.microworld.world import RELATIONS, Fact, World, ask, pronoun, state

_QUESTIONS = 4
_OFFICIAL_PARAGRAPHS = 25
# Chance that a question is unanswerable: of the train file, of the dev file.
_UNANSWERABLE = {"v1.1": (0.0, 0.0), "v2.0": (0.334, 0.5)}


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One question about a paragraph.

    Attributes:
      text: The question.
      answer: The answer; for an unanswerable question the plausible wrong one.
      start: Position of the answer in the paragraph.
      answerable: Whether the paragraph answers it.
      level: Its difficulty: 1 where the paragraph words it alike, 2 where it uses a synonym or the kind of a thing, 3
        where a pronoun stands for the subject or the sentence is passive. No official file shows it.
      fact: The fact asked for, where the question is about the world.
    """

    text: str
    answer: str
    start: int
    answerable: bool
    level: int
    fact: Fact | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph with its questions.

    Attributes:
      title: Its main subject.
      text: The text.
      questions: The questions.
      facts: Facts of the world that it states.
    """

    title: str
    text: str
    questions: tuple[Question, ...]
    facts: tuple[Fact, ...]


def paragraphs(
    seed: int, version: str, split: str, world: World, count: int, *, taken: Collection[str] = frozenset()
) -> list[Paragraph]:
    """Make paragraphs with a number of questions in all.

    Args:
      seed: The seed.
      version: "v1.1" or "v2.0"; the latter has unanswerable questions, one third in train and half in dev as the
        official files.
      split: "train" or "dev".
      world: The world.
      count: Number of questions.
      taken: Texts that must not occur, because another file has them.

    Returns:
      The paragraphs.
    """
    rng = random.Random(f"{seed}/squad/{version}/{split}")
    picker = TRAIN if split == "train" else EVAL
    unanswerable = _UNANSWERABLE[version][split == "dev"]
    found = []
    left = count
    while left > 0:
        make = rng.choices((_from_things, _from_facts, _from_scenes), weights=(5, 3, 2))[0]
        paragraph = make(rng, picker, world, unanswerable)
        if paragraph.text in taken:
            continue
        kept = paragraph.questions[:left]
        found.append(dataclasses.replace(paragraph, questions=kept))
        left -= len(kept)
    return found


def document(made: list[Paragraph], version: str, split: str) -> dict[str, Any]:
    """Make the content of one SQuAD file.

    Args:
      made: The paragraphs.
      version: "v1.1" or "v2.0".
      split: "train" or "dev".

    Returns:
      An object in the official JSON layout.
    """
    articles = []
    number = 0
    for start in range(0, len(made), _OFFICIAL_PARAGRAPHS):
        entries = []
        for paragraph in made[start : start + _OFFICIAL_PARAGRAPHS]:
            qas = []
            for question in paragraph.questions:
                number += 1
                qas.append(_official(question, version, f"microworld-{version}-{split}-{number:05d}"))
            entries.append({"context": paragraph.text, "qas": qas})
        title = f"Microworld_{start // _OFFICIAL_PARAGRAPHS + 1}"
        articles.append({"title": title, "paragraphs": entries})
    # The official v1.1 files say "1.1", the v2.0 ones "v2.0".
    return {"data": articles, "version": "1.1" if version == "v1.1" else version}


def _official(question: Question, version: str, identifier: str) -> dict[str, Any]:
    """Put a question into the official layout."""
    answer = [{"answer_start": question.start, "text": question.answer}]
    answers = answer if question.answerable else []
    entry: dict[str, Any] = {"answers": answers, "question": question.text, "id": identifier}
    if version == "v2.0":
        entry["is_impossible"] = not question.answerable
        if not question.answerable:
            entry["plausible_answers"] = answer
    return entry


def _from_facts(rng: random.Random, picker: Picker, world: World, unanswerable: float) -> Paragraph:
    """Two entities with the same two relations, or one entity with several."""
    training = picker is TRAIN
    group = rng.choice((world.people, world.people, world.towns, world.companies))
    subjects = [name for name in group if not training or lexicon.is_seen(name)]
    if rng.random() < 0.6:
        first, second = rng.sample(subjects, 2)
        chosen = rng.sample([fact.relation for fact in group[first]], 2)
        told = [_of(group[name], relation) for name in (first, second) for relation in chosen]
    else:
        first = rng.choice(subjects)
        told = rng.sample(group[first], 4)
    sentences = []
    starts: dict[int, int] = {}
    levels = []
    position = 0
    for index, fact in enumerate(told):
        text = state(rng, fact)
        same = index > 0 and told[index - 1].subject == fact.subject
        if same and text.startswith(fact.subject + " ") and rng.random() < 0.4:
            text = pronoun(fact.subject).capitalize() + text[len(fact.subject) :]
        starts[index] = position + _find(text, fact.value)
        levels.append(1 if fact.subject in text else 3)
        sentences.append(text)
        position += len(text) + 1
    asked = []
    for index in rng.sample(range(len(told)), min(_QUESTIONS - 1, len(told))):
        fact = told[index]
        if rng.random() < unanswerable:
            missing = _missing_fact(rng, group, fact, told)
            if missing is None:
                continue
            text = ask(rng, missing, held_out=not training)
            asked.append(Question(text, fact.value, starts[index], False, levels[index], missing))
        else:
            text = ask(rng, fact, held_out=not training)
            asked.append(Question(text, fact.value, starts[index], True, levels[index], fact))
    return Paragraph(first, " ".join(sentences), tuple(asked), tuple(told))


def _find(text: str, answer: str) -> int:
    """Find an answer in a sentence as whole words."""
    found = re.search(rf"\b{re.escape(answer)}\b", text)
    if found is None:
        raise ValueError(f"{text!r} does not hold {answer!r}")
    return found.start()


def _of(facts: tuple[Fact, ...], relation: str) -> Fact:
    """Find the fact with a relation."""
    return next(fact for fact in facts if fact.relation == relation)


def _missing_fact(
    rng: random.Random, group: dict[str, tuple[Fact, ...]], told: Fact, all_told: list[Fact]
) -> Fact | None:
    """Find a fact that the paragraph does not state but for which the told value is a plausible answer."""
    answer = RELATIONS[told.relation].answer
    options = [
        fact
        for fact in group[told.subject]
        if fact not in all_told and RELATIONS[fact.relation].answer == answer and fact.value != told.value
    ]
    if options:
        return rng.choice(options)
    named = {fact.subject for fact in all_told}
    strangers = [name for name in group if name not in named]
    # Train files are about seen entities; a question about an unseen one would give itself away.
    strangers = [name for name in strangers if lexicon.is_seen(name)] if lexicon.is_seen(told.subject) else strangers
    stranger = group[rng.choice(strangers)]
    options = [fact for fact in stranger if fact.relation == told.relation and fact.value != told.value]
    return options[0] if options else None


def _from_things(rng: random.Random, picker: Picker, world: World, unanswerable: float) -> Paragraph:
    """Things of different kinds; a question names the kind of one of them."""
    kinds = rng.sample(tuple(lexicon.KINDS), 4)
    told: list[scenes.Telling] = []
    for kind in kinds[:3]:
        scene = scenes.make(rng, picker, kind=1.0, member=0.0, quality=0.0, place=0.0)
        told.append(scenes.set_noun(rng, picker, scene, picker.word(rng, lexicon.KINDS[kind])))
    sentences = [scenes.sentence(scenes.tell(scene)) for scene in told]
    asked = []
    for index in rng.sample(range(3), 3):
        answer = told[index].noun_word
        start = sum(len(text) + 1 for text in sentences[:index]) + _find(sentences[index], answer)
        answerable = rng.random() >= unanswerable
        kind = kinds[index] if answerable else kinds[3]
        verb = picker.synonym(rng, told[index].verb, told[index].verb_word)
        asked.append(Question(f"Which {kind} was {verb}?", answer, start, answerable, 2))
    return Paragraph(told[0].agent, " ".join(sentences), tuple(asked), ())


def _from_scenes(rng: random.Random, picker: Picker, world: World, unanswerable: float) -> Paragraph:
    """Three scenes with different people, things and towns."""
    told: list[scenes.Telling] = []
    while len(told) < 3:
        scene = scenes.make(rng, picker, member=0.25, quality=0.4, place=0.0)
        avoid = tuple(other.place or "" for other in told)
        scene = dataclasses.replace(scene, place=picker.other(rng, lexicon.TOWNS, avoid))
        if all(scene.agent != other.agent and scene.noun != other.noun and scene.verb != other.verb for other in told):
            told.append(scene)
    sentences = []
    offsets = []
    passives = []
    position = 0
    for scene in told:
        passives.append(rng.random() < 0.25)
        text = scenes.sentence(scenes.tell(scene, passive=passives[-1], fronted=rng.random() < 0.25))
        sentences.append(text)
        offsets.append(position)
        position += len(text) + 1
    asked = []
    for index in rng.sample(range(3), 3):
        scene = told[index]
        kind: questions.Kind = rng.choice(("who", "where", "what"))
        answer = questions.answer_of(scene, kind)
        start = offsets[index] + _find(sentences[index], answer)
        answerable = rng.random() >= unanswerable
        reworded = rng.randint(0, 2)
        level = 3 if passives[index] else 2 if reworded else 1
        if answerable:
            asked_scene = pairs.paraphrase(rng, picker, scene, reworded)
        else:
            asked_scene = _unheard(rng, picker, told, scene, kind)
        text = questions.ask_scene(rng, asked_scene, kind, definite=True)
        asked.append(Question(text, answer, start, answerable, level))
    return Paragraph(told[0].agent, " ".join(sentences), tuple(asked), ())


def _unheard(
    rng: random.Random, picker: Picker, told: list[scenes.Telling], scene: scenes.Telling, kind: questions.Kind
) -> scenes.Telling:
    """Alter a scene so that no scene of the paragraph answers a question about it."""
    if kind == "what" and rng.random() < 0.5:
        agents = [other.agent for other in told]
        return dataclasses.replace(scene, agent=picker.other(rng, lexicon.NAMES, agents))
    verbs = [other.verb for other in told]
    options = tuple(lexicon.VERBS) if scene.noun in lexicon.OBJECTS else lexicon.GENERAL_VERBS
    if kind == "what" or rng.random() < 0.5:
        return scenes.set_verb(rng, picker, scene, picker.sense(rng, options, verbs))
    nouns = [other.noun for other in told]
    while True:
        other = pairs.sibling(rng, picker, scene.noun, other_kind=True)
        if other not in nouns:
            return scenes.set_noun(rng, picker, scene, other)
