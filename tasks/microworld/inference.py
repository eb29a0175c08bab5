"""Pairs in which one sentence follows from, contradicts or answers the other: the examples of MNLI, RTE and QNLI.

Claims are drawn alike for all labels and differ from their premises in the same number of words, so that neither the
claim alone nor the overlap says anything.
"""

from __future__ import annotations

import dataclasses
import random

from tasks.microworld import lexicon, pairs, questions, scenes
from tasks.microworld.example import Row, Setting
from tasks.microworld.world import RELATIONS, Fact, ask, fill, pronoun, state

# What a claim's denial has to do with the premise, if the claim itself is entailed or contradicted.
_DENIED = {"entailment": "contradiction", "contradiction": "entailment", "neutral": "neutral"}

# Share of denied claims where a premise of RTE speaks of everybody or nobody. With one half no single word would say
# anything, and a model without pretraining learnt nothing at all.
_DENIALS = 0.2


def mnli(setting: Setting, label: str, level: int) -> Row:
    """Make a sentence of some genre and a claim.

    Args:
      setting: What the example is made of.
      label: "entailment", "neutral" or "contradiction".
      level: 1 for a claim or denial about somebody where the premise speaks of everybody or nobody, 2 for one changed
        word or a kind that stands for its member, 3 for a denied claim of that sort.

    Returns:
      The example.
    """
    rng, picker = setting.rng, setting.picker
    genre = rng.choice(setting.genres)
    denied = level == 3 or (level == 1 and rng.random() < 0.5)
    relation = _DENIED[label] if denied else label
    if level == 1:
        claim = scenes.make(rng, picker, member=0.3, quality=1.0, place=0.3)
        if label == "neutral":
            avoid = (claim.quality or "", lexicon.OPPOSITE[claim.quality or ""])
            given = scenes.set_quality(rng, picker, claim, picker.sense(rng, tuple(lexicon.QUALITIES), avoid))
        else:
            given = scenes.reword(rng, picker, claim, (rng.choice(claim.slots()),))
        everybody = relation == "entailment" or (label == "neutral" and rng.random() < 0.5)
        given = dataclasses.replace(given, agent=rng.choice(lexicon.EVERYBODY if everybody else lexicon.NOBODY))
    else:
        claim = scenes.make(rng, picker, kind=0.7, member=0.1, quality=0.4, place=0.3)
        given = pairs.premise(rng, picker, claim, relation, 1)
    return Row(scenes.in_genre(rng, scenes.tell(given), genre), _claim(claim, denied=denied), label, level, genre)


def _claim(scene: scenes.Telling, *, denied: bool) -> str:
    """Put a claim, or its denial, into a sentence."""
    told = scenes.tell(scene)
    return scenes.sentence(scenes.deny(told) if denied else told)


def rte(setting: Setting, label: str, level: int) -> Row:
    """Make a sentence and a claim.

    What holds for everybody or nobody can be learnt from the task's own training rows, mostly from words: a model
    without pretraining is better than chance by that, and by no more than that.

    Args:
      setting: What the example is made of.
      label: "entailment" or "not_entailment".
      level: 1 for a claim or denial about somebody where the premise speaks of everybody or nobody, 2 for a kind that
        stands for its member, 3 for both together.

    Returns:
      The example.
    """
    rng, picker, follows = setting.rng, setting.picker, label == "entailment"
    claim = scenes.make(rng, picker, kind=0.0 if level == 1 else 1.0, member=0.0, quality=0.0, place=0.0)
    denied = level != 2 and rng.random() < _DENIALS
    # Level 2 breaks the kind, level 1 the agent, level 3 one of them.
    wrong_kind = not follows and (level == 2 or (level == 3 and rng.random() < 0.5))
    kind = pairs.sibling(rng, picker, claim.noun, other_kind=True) if wrong_kind else claim.noun
    given = claim
    if level == 1:
        given = scenes.reword(rng, picker, claim, (rng.choice(claim.slots()),))
    elif denied:
        # What nobody did to any bird nobody did to an owl, but not the other way round.
        given = scenes.set_noun(rng, picker, claim, kind)
        claim = scenes.set_noun(rng, picker, claim, picker.word(rng, lexicon.KINDS[claim.noun]))
    else:
        given = scenes.set_noun(rng, picker, claim, picker.word(rng, lexicon.KINDS[kind]))
    if level != 2:
        everybody = (follows or wrong_kind) != denied
        given = dataclasses.replace(given, agent=rng.choice(lexicon.EVERYBODY if everybody else lexicon.NOBODY))
    told = scenes.tell(claim)
    return Row(
        scenes.sentence(scenes.tell(given)), scenes.sentence(scenes.deny(told) if denied else told), label, level
    )


def qnli(setting: Setting, label: str, level: int) -> Row:
    """Make a question and a sentence that answers it, or one about another relation, scene or entity.

    Args:
      setting: What the example is made of.
      label: "entailment" where the sentence holds the answer, else "not_entailment".
      level: 1 for one fact of the world, 2 for a scene in other words, 3 for two facts joined by a pronoun.

    Returns:
      The example.
    """
    rng, picker, answered = setting.rng, setting.picker, label == "entailment"
    if level == 2:
        scene = scenes.make(rng, picker, member=0.2, place=1.0)
        kind: questions.Kind = rng.choice(("who", "where"))
        make = pairs.paraphrase if answered else pairs.near_copy
        question = questions.ask_scene(rng, make(rng, picker, scene, rng.choice((1, 2))), kind, definite=True)
        return Row(question, scenes.sentence(scenes.tell(scene)), label, level)
    group = rng.choice((setting.world.people, setting.world.towns, setting.world.companies))
    subjects = tuple(name for name in group if not setting.training or lexicon.is_seen(name))
    subject = rng.choice(subjects)
    fact = rng.choice(group[subject])
    about, told = subject, [fact]
    if not answered:
        if rng.random() < 0.2:
            about = rng.choice([name for name in subjects if name != subject])
            told = [next(item for item in group[about] if item.relation == fact.relation)]
        else:
            told = [rng.choice([item for item in group[subject] if item.relation != fact.relation])]
    text = state(rng, told[0])
    if level == 3:
        told.append(rng.choice([f for f in group[about] if f.relation not in (fact.relation, told[0].relation)]))
        text = _joined(rng, rng.sample(told, 2))
    return Row(ask(rng, fact, held_out=not setting.training), text, label, level)


def _joined(rng: random.Random, facts: list[Fact]) -> str:
    """Join two facts about one entity, which a pronoun names the second time."""
    clauses = []
    for fact in facts:
        frames = [frame for frame in RELATIONS[fact.relation].statements if frame.startswith("{s} ")]
        clauses.append(fill(rng.choice(frames), fact).removesuffix("."))
    return f"{clauses[0]} and {pronoun(facts[1].subject)}{clauses[1].removeprefix(facts[1].subject)}."
