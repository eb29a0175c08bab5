"""The tasks of the embedded data: balance, levels, nothing of dev in train, labels that follow from the lexicon."""

from __future__ import annotations

import collections
import pathlib
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest

from tasks import microworld
from tasks.microworld import glue, lexicon, scenes
from tasks.microworld.world import RELATIONS, make_world
from tests.helpers.microworld_files import LAYOUTS, dev_of, examples, full, questions, splits, tokens

__all__ = ["full"]

# Share of one label in the real train files, in percent.
REAL = {
    "CoLA": ("1", 70.4), "SST-2": ("1", 55.8), "MRPC": ("1", 67.4), "QQP": ("1", 36.9), "RTE": ("entailment", 50.2),
    "QNLI": ("entailment", 50.0), "MNLI": ("neutral", 33.3),
}  # fmt: skip
SENSE_OF = {word: sense for sense, words in lexicon.SENSES.items() for word in words}
AGENTS = {"everyone": "everybody", "no one": "nobody"}


@pytest.mark.parametrize("task", list(REAL))
def test_labels_are_balanced_as_in_the_real_task(full: pathlib.Path, task: str) -> None:
    label, share = REAL[task]
    labels = [label for *_, label in examples(full, task, "train")]
    assert 100 * labels.count(label) / len(labels) == pytest.approx(share, abs=0.7)
    for split in splits(task):
        if split.startswith("test"):
            continue
        counts = collections.Counter(label for *_, label in examples(full, task, split))
        assert counts.keys() == glue.LABELS[task].keys()
        for name, shares in glue.LABELS[task].items():
            assert 100 * counts[name] / counts.total() == pytest.approx(shares[split != "train"], abs=0.1)


def test_similarity_scores_are_spread_as_in_the_real_task(full: pathlib.Path) -> None:
    scores = np.array([float(label) for *_, label in examples(full, "STS-B", "train")])
    assert 0 <= scores.min() < 0.5 < 4.5 < scores.max() <= 5
    assert scores.mean() == pytest.approx(2.7, abs=0.1)


@pytest.mark.parametrize("task", list(LAYOUTS))
def test_no_example_comes_twice(full: pathlib.Path, task: str) -> None:
    # A STS-B score is no part of the example; the other files are told apart by their texts alone.
    names = [split for split in splits(task) if not split.startswith("test")]
    texts = [f"{a}\t{b}".lower() for split in names for a, b, _ in examples(full, task, split)]
    assert len(set(texts)) == len(texts)


def test_rows_avoid_what_is_taken() -> None:
    world = make_world(0)
    first = glue.rows(0, "RTE", "dev", world, 50)
    taken = {(row.first, row.second) for row in first}
    again = glue.rows(0, "RTE", "dev", world, 50, taken=taken)
    assert not taken & {(row.first, row.second) for row in again}


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glue, "_TRIES", 1)
    with pytest.raises(ValueError, match="SST-2 train: 2000 rows are more than can be made without repetition"):
        glue.rows(0, "SST-2", "train", make_world(0), 2_000)


@pytest.mark.parametrize("version", ["v1.1", "v2.0"])
def test_no_paragraph_of_dev_is_in_train(full: pathlib.Path, version: str) -> None:
    train, dev = ({text for text, _ in questions(full / f"squad/{split}-{version}.json")} for split in ("train", "dev"))
    assert len(train) > 500
    assert len(dev) > 200
    assert not train & dev


def test_levels_have_the_documented_shares(full: pathlib.Path) -> None:
    for task, shares in glue.LEVELS.items():
        assert sum(shares) == 100
        for split in splits(task):
            levels = microworld.read_levels(full, f"glue/{task}/{split}.tsv")
            if split.startswith("test"):
                assert len(levels) == 400
                continue
            labels = [label for *_, label in examples(full, task, split)]
            # STS-B has a score for each example.
            labels = [""] * len(labels) if task == "STS-B" else labels
            counts = collections.Counter(zip(labels, levels, strict=True))
            for label in set(labels):
                for level, share in enumerate(shares, start=1):
                    assert counts[label, level] == pytest.approx(labels.count(label) * share / 100, abs=1)
    for version in ("v1.1", "v2.0"):
        for split, count in (("train", 2_000), ("dev", 800)):
            levels = microworld.read_levels(full, f"squad/{split}-{version}.json")
            assert len(levels) == count
            for level, part in ((1, 0.30), (2, 0.60), (3, 0.10)):
                assert levels.count(level) / count == pytest.approx(part, abs=0.07)


def test_levels_mean_what_they_should(full: pathlib.Path) -> None:
    marks = {
        "CoLA": lambda a, b: 3 if re.match(r"(The \w+ near the|\w+ with) ", a) else 0,
        "RTE": lambda a, b: 2 if not re.match("(Every|No)", a) else
        3 if set(tokens(f"{a} {b}")) & set(lexicon.KINDS) else 1,
        "SST-2": lambda a, b: 3 if "although" in a else 2 if re.search(r"\b(not|never|nobody)\b", a) else 1,
        "MNLI": lambda a, b: 1 if re.search(r"\b(everybody|everyone|nobody|no one)\b", a.lower()) else
        3 if b.startswith("It is false") else 2,
        "MRPC": lambda a, b: 1 if tokens(a)[0] in ("everybody", "everyone", "nobody", "no") else
        3 if (" by " in a) != (" by " in b) else 2,
        "QNLI": lambda a, b: 3 if re.search(r" and (she|he|it) ", b) else
        2 if re.search(r"\bthe\b", a) and set(map(SENSE_OF.get, tokens(a))) & set(lexicon.VERBS) else 1,
        "QQP": lambda a, b: 3 if (" was " in a[:13]) != (" was " in b[:13]) and "Where" not in a + b else 0,
    }  # fmt: skip
    for task, mark in marks.items():
        levels = microworld.read_levels(full, f"glue/{task}/{dev_of(task)}.tsv")
        for (first, second, _), level in zip(examples(full, task, dev_of(task)), levels, strict=True):
            seen = mark(first, second)
            assert seen == level or (seen == 0 and level < 3), (task, first, second)


@dataclass(frozen=True)
class Deed:
    """A scene as read from a sentence: agent, senses of verb, adjective and object, place."""

    agent: str
    verb: str
    quality: str | None
    noun: str
    place: str


def read_deed(clause: str) -> Deed:
    """Reads a clause of a scene, active or passive."""
    parts = re.fullmatch(
        r"(?P<agent>no one|\w+) (?P<verb>\w+) (?:an? )?(?P<thing>[\w ]+?)(?P<place>(?: in| near) .*)?", clause
    )
    passive = re.fullmatch(r"(?:an? )?(?P<thing>[\w ]+) was (?P<verb>\w+) by (?P<agent>\w+)(?P<place> .*)?", clause)
    found = passive or parts
    assert found is not None, clause
    *quality, noun = found["thing"].split()
    agent = AGENTS.get(found["agent"], found["agent"])
    sense = SENSE_OF.get(noun, noun)
    return Deed(agent, SENSE_OF[found["verb"]], SENSE_OF[quality[0]] if quality else None, sense, found["place"] or "")


def clause_of(sentence: str) -> tuple[str, bool]:
    """A sentence in lower case without full stop, and whether it denies."""
    text = sentence.lower().removesuffix(".")
    return text.removeprefix("it is false that "), text.startswith("it is false that ")


def is_a(noun: str, other: str) -> bool:
    """Whether every `noun` is a thing of the sort `other`."""
    return other in (noun, lexicon.KIND_OF.get(noun))


@pytest.mark.parametrize("split", ["train", "dev"])
def test_mrpc_labels_follow_from_the_lexicon(full: pathlib.Path, split: str) -> None:
    for first, second, label in examples(full, "MRPC", split):
        one, two = (read_deed(clause_of(text)[0]) for text in (first, second))
        assert (one == two) == (label == "1"), (first, second)


@pytest.mark.parametrize("split", ["train", "dev"])
def test_rte_labels_follow_from_the_lexicon(full: pathlib.Path, split: str) -> None:
    for first, second, label in examples(full, "RTE", split):
        given = read_deed(clause_of(first)[0])
        clause, denied = clause_of(second)
        claim = read_deed(clause)
        if denied:
            # What nobody did to any bird nobody did to an owl.
            follows = given.agent == "nobody" and is_a(claim.noun, given.noun)
        else:
            follows = given.agent in (claim.agent, "everybody") and is_a(given.noun, claim.noun)
        assert given.verb == claim.verb
        assert follows == (label == "entailment"), (first, second)


def relation(given: Deed, claim: Deed) -> str:
    """What a premise says of a claim: what it leaves out stays open, opposites and other kinds exclude."""
    if given.agent == "nobody":
        return "contradiction" if relation(replace(given, agent="everybody"), claim) == "entailment" else "neutral"
    if given.agent not in (claim.agent, "everybody") or (claim.place and given.place != claim.place):
        return "neutral"
    if {(given.verb, claim.verb), (given.quality, claim.quality)} & lexicon.OPPOSITE.items():
        return "contradiction"
    if given.verb != claim.verb or (claim.quality and given.quality != claim.quality):
        return "neutral"
    if is_a(given.noun, claim.noun):
        return "entailment"
    return "neutral" if lexicon.KIND_OF.get(claim.noun) == given.noun else "contradiction"


@pytest.mark.parametrize("split", ["train", "dev_matched", "dev_mismatched"])
def test_mnli_labels_follow_from_the_lexicon(full: pathlib.Path, split: str) -> None:
    frames = [frame for frames in scenes.GENRES.values() for frame in frames if frame != "{}."]
    patterns = [re.compile(re.escape(frame.lower()).replace(r"\{\}", "(.*)")) for frame in frames]
    denied_label = {"entailment": "contradiction", "contradiction": "entailment", "neutral": "neutral"}
    for first, second, label in examples(full, "MNLI", split):
        told = first.lower()
        inner = next((found[1] for pattern in patterns if (found := pattern.fullmatch(told))), told.removesuffix("."))
        clause, denied = clause_of(second)
        said = relation(read_deed(inner), read_deed(clause))
        assert (denied_label[said] if denied else said) == label, (first, second)


def test_qnli_sentences_state_the_world(full: pathlib.Path) -> None:
    statements = {
        frame.replace("{s}", fact.subject).replace("{v}", fact.value): fact
        for fact in make_world(0).facts()
        for frame in RELATIONS[fact.relation].statements
    }
    levels = microworld.read_levels(full, "glue/QNLI/dev.tsv")
    checked: collections.Counter[int] = collections.Counter()
    for (question, sentence, label), level in zip(examples(full, "QNLI", "dev"), levels, strict=True):
        if level == 2:
            continue
        parts = re.split(r" and (?:she|he|it) ", sentence)
        told = [statements[parts[0].removesuffix(".") + "."]]
        told += [statements[f"{told[0].subject} {part}"] for part in parts[1:]]
        asked = [frame.replace("{s}", f.subject) for f in told for frame in RELATIONS[f.relation].questions]
        assert (question in asked) == (label == "entailment"), (question, sentence)
        checked[level] += 1
    assert checked[1] == 500
    assert checked[3] == 200
