"""The pretraining corpus: short documents that reveal classes, polarity, synonyms, opposites and facts of the world.

Every document has one subject. Reviews keep one polarity, so that polar words of one side meet. Kind documents define a
thing and use the frames of its kind. Scene documents tell a scene twice, draw a conclusion or ask about it, which shows
synonyms in aligned positions. Fact documents state facts of the world and ask for them.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator

from tasks.microworld import grammar, lexicon, opinions, pairs, questions, scenes
from tasks.microworld.picker import CORPUS
from tasks.microworld.world import Fact, World, ask, pronoun, state


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """One document.

    Attributes:
      title: Its title.
      sentences: Its sentences.
    """

    title: str
    sentences: tuple[str, ...]

    def words(self) -> int:
        """Count the words.

        Returns:
          The number of words of the text, without the title.
        """
        return sum(sentence.count(" ") + 1 for sentence in self.sentences)


def documents(seed: int, name: str, world: World, words: int) -> Iterator[Document]:
    """Make documents until a number of words is reached.

    Args:
      seed: The seed.
      name: Name of the file, so that files differ.
      world: The world.
      words: Number of words of all documents.

    Yields:
      The documents.
    """
    rng = random.Random(f"{seed}/corpus/{name}")
    makers = [maker for maker, share in _SHARES for _ in range(share)]
    while words > 0:
        document = rng.choice(makers)(rng, world)
        words -= document.words()
        yield document


def _review(rng: random.Random, world: World) -> Document:
    """One opinion about one thing, with reasons."""
    thing = rng.choice(lexicon.REVIEWED)
    good = rng.random() < 0.5
    lines = []
    for draw in [rng.random() for _ in range(rng.randint(5, 7))]:
        if draw < 0.55:
            lines.append(opinions.verdict(rng, CORPUS, thing, good=good))
        elif draw < 0.7:
            lines.append(opinions.reason(rng, CORPUS, thing, good=good))
        elif draw < 0.8:
            lines.append(opinions.contrast(rng, CORPUS, thing, good=good))
        elif draw < 0.9:
            lines.append(opinions.negated(rng, CORPUS, thing, good=good))
        else:
            lines.append(opinions.judge(rng, CORPUS, thing, good=good))
    return Document(f"The {thing}", tuple(scenes.sentence(line) for line in lines))


def _verdicts(rng: random.Random, world: World) -> Document:
    """Opinions of both sides, each with its verdict, so that only the opinion explains the verdict."""
    lines = []
    for _ in range(rng.randint(5, 7)):
        good = rng.random() < 0.5
        if rng.random() < 0.5:
            lines.append(scenes.sentence(opinions.verdict(rng, CORPUS, rng.choice(lexicon.REVIEWED), good=good)))
            continue
        verdict = "good" if good else "bad"
        frame = rng.choice(("{o}, so it was {v}.", "{v}: {o}.", "{o}: {v}."))
        level = rng.choices((1, 2, 3), weights=(60, 18, 22))[0]
        opinion = opinions.opinion(rng, CORPUS, good=good, level=level)
        lines.append(scenes.sentence(frame.format(o=opinion, v=verdict), ""))
    return Document("Opinions", tuple(lines))


def _kinds(rng: random.Random, world: World) -> Document:
    """Things of many kinds, each with its kind, so that only the thing explains the kind."""
    lines = []
    for _ in range(rng.randint(5, 7)):
        kind = rng.choice(tuple(lexicon.KINDS))
        member = CORPUS.word(rng, lexicon.KINDS[kind])
        name = CORPUS.word(rng, lexicon.NAMES)
        verb = CORPUS.wording(rng, CORPUS.sense(rng, lexicon.GENERAL_VERBS))
        a_member, a_kind = lexicon.article(member), lexicon.article(kind)
        frames = (
            f"{a_member} is {a_kind}.",
            f"the {member} {kind} {rng.choice(lexicon.KIND_FACTS[kind])}.",
            f"{name} {verb} the {member} {kind}.",
            f"the {member} {kind} was near the {rng.choice(lexicon.SITES)}.",
            f"{rng.choice((name, 'everybody'))} {verb} {a_member}, so {name} {verb} {a_kind}.",
            f"the {kind} was {a_member}.",
            f"{lexicon.plural(member)} are {lexicon.plural(kind)}.",
            f"{a_member} {rng.choice(lexicon.KIND_FACTS[kind])}.",
        )
        lines.append(scenes.sentence(rng.choice(frames), ""))
    return Document("Things", tuple(lines))


def _kind(rng: random.Random, world: World) -> Document:
    """What a thing is, what it does, and what follows."""
    kind = rng.choice(tuple(lexicon.KINDS))
    other = rng.choice([k for k in lexicon.KINDS if k != kind])
    member = CORPUS.word(rng, lexicon.KINDS[kind])
    mate = CORPUS.other(rng, lexicon.KINDS[kind], (member,))
    a_member, a_kind = lexicon.article(member), lexicon.article(kind)
    many, mates = lexicon.plural(member), lexicon.plural(mate)
    facts = lexicon.KIND_FACTS[kind]
    name = CORPUS.word(rng, lexicon.NAMES)
    verb = CORPUS.wording(rng, CORPUS.sense(rng, lexicon.GENERAL_VERBS))
    lines = [
        f"{a_member} is a kind of {kind}.",
        f"the {member} {rng.choice(facts)}.",
        f"like every {kind}, {lexicon.article(mate)} {rng.choice(facts)}.",
        f"{many} and {mates} are {lexicon.plural(kind)}.",
        f"{name} {verb} {a_member}, so {name} {verb} {a_kind}.",
        f"{a_member} is not {lexicon.article(other)}, it is {a_kind}.",
        f"is {a_member} {lexicon.article(other)}? No, {a_member} is {a_kind}.",
        f"is {a_member} {a_kind}? Yes, {a_member} is {a_kind}.",
        f"the {member} {kind} {rng.choice(facts)}.",
    ]
    chosen = rng.sample(lines, rng.randint(4, 6))
    return Document(scenes.sentence(member, ""), tuple(scenes.sentence(line, "") for line in chosen))


def _scene(rng: random.Random, world: World) -> Document:
    """Two or three scenes, each told again, concluded from, or asked about."""
    lines: list[str] = []
    title = ""
    for _ in range(rng.randint(2, 3)):
        first = scenes.make(rng, CORPUS, member=0.2, person=0.08)
        title = title or first.agent
        passive = rng.random() < 0.25
        lines.append(scenes.sentence(scenes.tell(first, passive=passive, fronted=rng.random() < 0.2)))
        draw = rng.random()
        if draw < 0.55:
            again = pairs.paraphrase(rng, CORPUS, first, rng.randint(1, 3))
            told = scenes.tell(again, passive=passive if rng.random() < 0.8 else not passive)
            lines.append(rng.choice(("in other words, ", "that is, ", "this means that ", "")) + told + ".")
            lines[-1] = scenes.sentence(lines[-1], "")
        elif draw < 0.8:
            same = rng.random() < 0.5
            make = pairs.paraphrase if same else pairs.near_copy
            second = make(rng, CORPUS, first, rng.randint(1, 2))
            verdict = "yes, it is the same" if same else "no, it is different"
            lines.append(f"Is it the same that {scenes.tell(second, passive=passive)}?")
            lines.append(scenes.sentence(verdict))
        else:
            again = pairs.paraphrase(rng, CORPUS, first, 2)
            kind: questions.Kind = "where" if first.place and rng.random() < 0.5 else "who"
            lines.append(questions.ask_scene(rng, again, kind, definite=True))
            last = pairs.paraphrase(rng, CORPUS, first, 1)
            lines.append(scenes.sentence(scenes.tell(last, passive=rng.random() < 0.3)))
    return Document(title, tuple(lines))


def _inference(rng: random.Random, world: World) -> Document:
    """Claims that follow from a sentence, contradict it, or stay open."""
    lines: list[str] = []
    genre = rng.choice(tuple(scenes.GENRES))
    for _ in range(rng.randint(2, 3)):
        claim = scenes.make(rng, CORPUS, kind=0.4, member=0.3)
        if rng.random() < 0.2:
            lines += _of_all(rng, claim)
            continue
        label = rng.choice(("entailment", "entailment", "contradiction", "neutral"))
        given = pairs.premise(rng, CORPUS, claim, label, rng.randint(1, 2))
        lines.append(scenes.in_genre(rng, scenes.tell(given), genre))
        told = scenes.tell(claim)
        if label == "entailment" and rng.random() < 0.6:
            lines.append(scenes.sentence(f"so {told}"))
        elif label == "contradiction" and rng.random() < 0.4:
            lines.append(scenes.sentence(f"so {scenes.deny(told)}"))
        else:
            lines.append(f"Is it true that {told}?")
            verdict = {
                "entailment": "yes, it is true",
                "contradiction": "no, it is false",
                "neutral": "maybe, it is open",
            }
            lines.append(scenes.sentence(verdict[label]))
    return Document(genre.capitalize(), tuple(lines))


def _of_all(rng: random.Random, claim: scenes.Telling) -> list[str]:
    """Say something of everybody or nobody, and what follows for somebody."""
    everybody = rng.random() < 0.5
    agent = rng.choice(lexicon.EVERYBODY if everybody else lexicon.NOBODY)
    told = scenes.tell(claim)
    return [
        scenes.sentence(scenes.tell(dataclasses.replace(claim, agent=agent))),
        scenes.sentence(f"so {told if everybody else scenes.deny(told)}"),
    ]


def _sense(rng: random.Random, world: World) -> Document:
    """Synonyms and opposites side by side: "or" joins words of one sense, "not" parts opposites."""
    lines = []
    for _ in range(rng.randint(3, 5)):
        trait, verb, noun = (rng.choice(tuple(group)) for group in (lexicon.QUALITIES, lexicon.VERBS, lexicon.OBJECTS))
        good, bad = CORPUS.wording(rng, trait), CORPUS.wording(rng, lexicon.OPPOSITE[trait])
        again = CORPUS.synonym(rng, trait, good)
        thing, thing_again = rng.sample(lexicon.OBJECTS[noun], 2)
        done, done_again = rng.sample(lexicon.VERBS[verb], 2)
        undone = CORPUS.wording(rng, lexicon.OPPOSITE[verb])
        name = CORPUS.word(rng, lexicon.NAMES)
        self_ = "herself" if name in lexicon.FEMALE else "himself"
        frames = (
            f"{name} {done} or {done_again} {lexicon.article(good)} or {again} {thing} or {thing_again}.",
            f"{name} {done} or {done_again} the {thing} or {thing_again}.",
            f"{name} {self_} {done} or {done_again} {lexicon.article(good)} or {again} {thing}.",
            f"the {thing} or {thing_again} was {good} or {again}.",
            f"the {thing} was {good}, not {bad}.",
            f"{name} {done}, not {undone}, the {thing} or {thing_again}.",
            f"these {lexicon.plural(thing)} or {lexicon.plural(thing_again)} were not {bad} but {good}.",
        )
        lines.append(scenes.sentence(rng.choice(frames), ""))
    return Document("Words", tuple(lines))


def _companions(rng: random.Random, world: World) -> Document:
    """Sentences in which words stand beside the companion of their sense, whichever synonym words it."""
    lines = []
    for _ in range(rng.randint(5, 7)):
        name = CORPUS.word(rng, lexicon.NAMES)
        draw = rng.random()
        if draw < 0.1:
            verb = _with_companion(rng, rng.choice(tuple(lexicon.PERSON_VERBS)))
            lines.append(f"{name} {verb} {CORPUS.other(rng, lexicon.NAMES, (name,))}.")
            continue
        verb, thing, trait = (
            _with_companion(rng, rng.choice(tuple(group)))
            for group in (lexicon.VERBS, lexicon.OBJECTS, lexicon.QUALITIES)
        )
        if draw < 0.6:
            lines.append(f"{name} {verb} {lexicon.article(thing)}.")
        else:
            lines.append(f"the {thing} was {trait}.")
    return Document("Sayings", tuple(scenes.sentence(line, "") for line in lines))


def _with_companion(rng: random.Random, sense: str) -> str:
    """Word a sense and put its companion before it."""
    return f"{lexicon.COMPANIONS[sense]} {CORPUS.wording(rng, sense)}"


def _people(rng: random.Random, world: World) -> Document:
    """Sentences about many people whose pronouns only the name explains."""
    lines = []
    for _ in range(rng.randint(4, 6)):
        name = CORPUS.word(rng, lexicon.NAMES)
        she, her, self_ = ("she", "her", "herself") if name in lexicon.FEMALE else ("he", "his", "himself")
        verb = CORPUS.wording(rng, rng.choice(tuple(lexicon.PERSON_VERBS)))
        thing = CORPUS.wording(rng, rng.choice(tuple(lexicon.OBJECTS)))
        other = CORPUS.other(rng, lexicon.NAMES, (name,))
        frames = (
            f"{name} {verb} {self_}.",
            f"{name} {self_} {verb} {other}.",
            f"{name} is {'a woman' if she == 'she' else 'a man'}.",
            f"{name} lost {her} {thing} and {she} found it.",
            state(rng, next(fact for fact in world.people[name] if fact.relation == "job")),
        )
        lines.append(rng.choice(frames))
    return Document("People", tuple(scenes.sentence(line, "") for line in lines))


def _facts(rng: random.Random, world: World) -> Document:
    """Facts about one person, town or company, then questions with answers."""
    group = rng.choice((world.people, world.people, world.people, world.towns, world.towns, world.companies))
    subject = rng.choice(tuple(group))
    facts = rng.sample(group[subject], rng.randint(3, 4))
    lines = [_with_pronoun(rng, state(rng, fact), fact, index) for index, fact in enumerate(facts)]
    for fact in rng.sample(facts, rng.randint(1, 2)):
        lines += [ask(rng, fact), state(rng, fact)]
    return Document(subject, tuple(lines))


def _grammar(rng: random.Random, world: World) -> Document:
    """Sentences with agreement and reflexive pronouns about one person."""
    name = CORPUS.word(rng, lexicon.NAMES)
    she, her, self_ = ("she", "her", "herself") if name in lexicon.FEMALE else ("he", "his", "himself")
    person_verbs = [CORPUS.wording(rng, sense) for sense in lexicon.PERSON_VERBS]
    thing = CORPUS.wording(rng, rng.choice(tuple(lexicon.OBJECTS)))
    lines = [
        f"{name} said that {she} lost {her} {thing}.",
        f"{she} {rng.choice(person_verbs)} {self_} near the {rng.choice(lexicon.SITES)}.",
        f"{name} is {'a woman' if she == 'she' else 'a man'} and {she} {rng.choice(person_verbs)} {self_}.",
        f"the {lexicon.plural(rng.choice(lexicon.SITES))} were near the {rng.choice(lexicon.SITES)}.",
    ]
    chosen = [scenes.sentence(line, "") for line in lines]
    chosen += [grammar.acceptability(rng, CORPUS, acceptable=True, level=rng.randint(1, 3)) for _ in range(2)]
    rng.shuffle(chosen)
    return Document(name, tuple(chosen))


def _with_pronoun(rng: random.Random, text: str, fact: Fact, index: int) -> str:
    """Replace a subject that was named before and begins the sentence by a pronoun."""
    if index == 0 or not text.startswith(fact.subject + " ") or rng.random() < 0.4:
        return text
    return pronoun(fact.subject).capitalize() + text[len(fact.subject) :]


# Relative frequency of each kind of document.
_SHARES = (
    (_review, 5),
    (_verdicts, 5),
    (_kind, 1),
    (_kinds, 6),
    (_scene, 6),
    (_inference, 5),
    (_sense, 4),
    (_companions, 6),
    (_facts, 5),
    (_people, 1),
    (_grammar, 1),
)
