"""The entities of the world, their facts, made once from the seed, and the sentences and questions about them."""

from __future__ import annotations

import dataclasses
import random

from tasks.microworld import lexicon


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """One fact of the world.

    Attributes:
      subject: Name of the entity the fact is about, as it stands in text.
      relation: A key of `RELATIONS`.
      value: The other side of the fact, as it stands in text.
    """

    subject: str
    relation: str
    value: str


@dataclasses.dataclass(frozen=True, slots=True)
class Relation:
    """How a relation is put into words.

    Attributes:
      answer: Type of the value, to find distractors of the same type.
      statements: Sentence frames; {s} is the subject, {v} the value.
      questions: Question frames that ask for the value.
    """

    answer: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """All entities with their facts.

    Attributes:
      people: Facts by first name.
      towns: Facts by town.
      companies: Facts by company.
      full_names: Full name by first name.
    """

    people: dict[str, tuple[Fact, ...]]
    towns: dict[str, tuple[Fact, ...]]
    companies: dict[str, tuple[Fact, ...]]
    full_names: dict[str, str]

    def facts(self) -> tuple[Fact, ...]:
        """List every fact.

        Returns:
          The facts of people, towns and companies in that order.
        """
        return tuple(
            f for group in (self.people, self.towns, self.companies) for facts in group.values() for f in facts
        )


# The last question frame of each relation is held out of the train files.
RELATIONS: dict[str, Relation] = {
    "born_in": Relation(
        "town",
        ("{s} was born in {v}.", "{v} is the birthplace of {s}.", "{s} comes from {v}."),
        ("Where was {s} born?", "What is the birthplace of {s}?", "Where does {s} come from?"),
    ),
    "lives_in": Relation(
        "town",
        ("{s} lives in {v}.", "{s} has a house in {v}.", "{s} resides in {v}."),
        ("Where does {s} live?", "In which town does {s} live?", "Where does {s} reside?"),
    ),
    "studied_in": Relation(
        "town",
        ("{s} studied in {v}.", "{s} went to school in {v}.", "{s} was educated in {v}."),
        ("Where did {s} study?", "Where did {s} go to school?", "Where was {s} educated?"),
    ),
    "employer": Relation(
        "company",
        ("{s} works for {v}.", "{v} employs {s}.", "{s} is employed by {v}."),
        ("Who employs {s}?", "Which company does {s} work for?", "What is the employer of {s}?"),
    ),
    "job": Relation(
        "profession",
        ("{s} is a {v}.", "{s} earns money as a {v}.", "The job of {s} is that of a {v}."),
        ("What is the job of {s}?", "How does {s} earn money?", "What does {s} do for a living?"),
    ),
    "birth_year": Relation(
        "year",
        ("{s} was born in {v}.", "The birth of {s} was in {v}.", "{s} came into the world in {v}."),
        ("When was {s} born?", "In which year was {s} born?", "When did {s} come into the world?"),
    ),
    "plays": Relation(
        "instrument",
        ("{s} plays the {v}.", "{s} practises the {v}.", "The {v} is played by {s}."),
        ("What does {s} play?", "Which instrument does {s} play?", "What is played by {s}?"),
    ),
    "married_to": Relation(
        "person",
        ("{s} is married to {v}.", "{s} married {v}.", "{v} is the spouse of {s}."),
        ("Who is married to {s}?", "Who is the spouse of {s}?", "Whom did {s} marry?"),
    ),
    "country": Relation(
        "country",
        ("{s} is a town in {v}.", "{s} lies in {v}.", "{s} belongs to {v}."),
        ("In which country is {s}?", "Where does {s} lie?", "To which country does {s} belong?"),
    ),
    "river": Relation(
        "river",
        ("{s} stands on the {v}.", "The {v} flows through {s}.", "{s} is on the river {v}."),
        ("Which river flows through {s}?", "On which river does {s} stand?", "What is the river of {s}?"),
    ),
    "founder": Relation(
        "person",
        ("{s} was founded by {v}.", "{v} founded {s}.", "{v} is the founder of {s}."),
        ("Who founded {s}?", "By whom was {s} founded?", "Who is the founder of {s}?"),
    ),
    "mayor": Relation(
        "person",
        ("The mayor of {s} is {v}.", "{v} is the mayor of {s}.", "{s} is led by {v}."),
        ("Who is the mayor of {s}?", "Who leads {s}?", "By whom is {s} led?"),
    ),
    "year": Relation(
        "year",
        ("{s} was founded in {v}.", "The founding of {s} was in {v}.", "{s} was established in {v}."),
        ("When was {s} founded?", "In which year was {s} founded?", "When was {s} established?"),
    ),
    "known_for": Relation(
        "material",
        ("{s} is famous for its {v}.", "{s} is known for its {v}.", "The {v} of {s} is famous."),
        ("What is {s} famous for?", "What is {s} known for?", "For what is {s} famous?"),
    ),
    "seat": Relation(
        "town",
        ("{s} is based in {v}.", "The office of {s} is in {v}.", "{s} has its seat in {v}."),
        ("Where is {s} based?", "Where is the office of {s}?", "Where does {s} have its seat?"),
    ),
    "owner": Relation(
        "person",
        ("{s} is owned by {v}.", "{v} owns {s}.", "{v} is the owner of {s}."),
        ("Who owns {s}?", "By whom is {s} owned?", "Who is the owner of {s}?"),
    ),
}


class _Deck:
    """Deals the words of a group evenly, so that the corpus states each of them about as often."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._left: dict[tuple[str, ...], list[str]] = {}

    def deal(self, words: tuple[str, ...]) -> str:
        """Take the next word of a group; all are dealt before one comes again."""
        left = self._left.setdefault(words, [])
        if not left:
            left += self._rng.sample(words, len(words))
        return left.pop()


def make_world(seed: int) -> World:
    """Make the world of a seed.

    Args:
      seed: The seed.

    Returns:
      The world; equal for equal seeds.
    """
    rng = random.Random(f"{seed}/world")
    family = [lexicon.FAMILY[index % len(lexicon.FAMILY)] for index in range(len(lexicon.NAMES))]
    rng.shuffle(family)
    full = {name: f"{name} {last}" for name, last in zip(lexicon.NAMES, family, strict=True)}
    spouses = list(lexicon.MALE)
    rng.shuffle(spouses)
    partner = dict(zip(lexicon.FEMALE, spouses, strict=True))
    partner |= {husband: wife for wife, husband in partner.items()}
    deck = _Deck(rng)
    people = {}
    for name in lexicon.NAMES:
        # Three different towns, so that no sentence about one relation answers a question about another.
        born, home, school = rng.sample(lexicon.TOWNS, 3)
        values = {
            "born_in": born, "lives_in": home, "studied_in": school, "employer": deck.deal(lexicon.COMPANIES),
            "job": deck.deal(lexicon.PROFESSIONS), "birth_year": deck.deal(lexicon.YEARS),
            "plays": deck.deal(lexicon.KINDS["instrument"]), "married_to": full[partner[name]],
        }  # fmt: skip
        people[name] = tuple(Fact(name, relation, value) for relation, value in values.items())
    towns = {}
    for town in lexicon.TOWNS:
        founder, mayor = rng.sample(lexicon.NAMES, 2)
        values = {
            "country": deck.deal(lexicon.COUNTRIES), "river": deck.deal(lexicon.RIVERS), "founder": full[founder],
            "mayor": full[mayor], "year": deck.deal(lexicon.YEARS), "known_for": deck.deal(lexicon.MATERIALS),
        }  # fmt: skip
        towns[town] = tuple(Fact(town, relation, value) for relation, value in values.items())
    companies = {}
    for company in lexicon.COMPANIES:
        founder, owner = rng.sample(lexicon.NAMES, 2)
        values = {
            "seat": deck.deal(lexicon.TOWNS), "owner": full[owner], "founder": full[founder],
            "year": deck.deal(lexicon.YEARS), "known_for": deck.deal(lexicon.MATERIALS),
        }  # fmt: skip
        companies[company] = tuple(Fact(company, relation, value) for relation, value in values.items())
    return World(people=people, towns=towns, companies=companies, full_names=full)


def state(rng: random.Random, fact: Fact, frame: int | None = None) -> str:
    """Put a fact into a sentence.

    Args:
      rng: Source of randomness.
      fact: The fact.
      frame: Index of the frame; a random one if None.

    Returns:
      A sentence that names subject and value.
    """
    frames = RELATIONS[fact.relation].statements
    return fill(rng.choice(frames) if frame is None else frames[frame], fact)


def ask(rng: random.Random, fact: Fact, *, held_out: bool = True) -> str:
    """Ask for the value of a fact.

    Args:
      rng: Source of randomness.
      fact: The fact.
      held_out: Whether the held-out question frame may be used.

    Returns:
      A question that names the subject only.
    """
    frames = RELATIONS[fact.relation].questions
    return fill(rng.choice(frames if held_out else frames[:-1]), fact)


def fill(frame: str, fact: Fact) -> str:
    """Fill a frame with the names of a fact.

    Args:
      frame: A frame of `RELATIONS`.
      fact: The fact.

    Returns:
      The sentence or question.
    """
    return frame.replace("{s}", fact.subject).replace("{v}", fact.value)


def pronoun(subject: str) -> str:
    """Give the pronoun of an entity.

    Args:
      subject: First name, town or company.

    Returns:
      "she", "he" or "it".
    """
    return "she" if subject in lexicon.FEMALE else "he" if subject in lexicon.MALE else "it"
