"""The embedded data: determinism, official layouts, SQuAD, the corpus and the lexical hold-out."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from tasks import microworld
from tasks.microworld import grammar, lexicon, squad, write
from tasks.microworld.world import RELATIONS, make_world
from tasks.system.repository import REPOSITORY
from tests.helpers.microworld_files import LAYOUTS, dev_of, examples, full, questions, read_lines, splits, tokens

__all__ = ["full"]

HEADERS = {
    "CoLA/test": "index sentence",
    "SST-2/train": "sentence label",
    "SST-2/test": "index sentence",
    "MRPC/dev": "\ufeffQuality|#1 ID|#2 ID|#1 String|#2 String",
    "MRPC/test": "index|#1 ID|#2 ID|#1 String|#2 String",
    "STS-B/train": "index genre filename year old_index source1 source2 sentence1 sentence2 score",
    "STS-B/test": "index genre filename year old_index source1 source2 sentence1 sentence2",
    "QQP/train": "id qid1 qid2 question1 question2 is_duplicate",
    "QQP/test": "id question1 question2",
    "QNLI/train": "index question sentence label",
    "QNLI/test": "index question sentence",
    "RTE/dev": "index sentence1 sentence2 label",
    "RTE/test": "index sentence1 sentence2",
    "MNLI/train": "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse "
    "sentence2_parse sentence1 sentence2 label1 gold_label",
    "MNLI/dev_mismatched": "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse "
    "sentence2_parse sentence1 sentence2 label1 label2 label3 label4 label5 gold_label",
    "MNLI/test_matched": "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse "
    "sentence2_parse sentence1 sentence2",
}
# Every open-class word but plurals occurs at least this often in the corpus.
MINIMUM_COUNT = 55


def test_bytes_do_not_depend_on_the_process(tmp_path: pathlib.Path) -> None:
    code = "import pathlib, sys, tasks.microworld as m; m.generate(pathlib.Path(sys.argv[1]), seed=3, scale=0.02)"
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(REPOSITORY)}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / hash_seed)], check=True, env=environment)
    one, two = (write.tree_digests(tmp_path / hash_seed) for hash_seed in ("1", "2"))
    assert one == two
    # The files, the levels of all but the corpus, and the corpus.
    assert len(one) == 2 * (26 + 4) + 2


def test_seeds_differ(tmp_path: pathlib.Path) -> None:
    one = microworld.generate(tmp_path / "1", seed=1, scale=0.02)["files"]
    two = microworld.generate(tmp_path / "2", seed=2, scale=0.02)["files"]
    assert all(one[name]["sha256"] != two[name]["sha256"] for name in one)


def test_content_is_the_published_one(full: pathlib.Path) -> None:
    assert write.tree_digests(full) == microworld.DIGESTS, (
        "content changed; bump the version: a published version of the data never changes"
    )


def test_manifest_describes_every_file(full: pathlib.Path) -> None:
    manifest = json.loads((full / write.MANIFEST).read_text())
    assert (manifest["version"], manifest["seed"], manifest["scale"]) == ("microworld_v1", 0, 1.0)
    for name, entry in manifest["files"].items():
        content = (full / name).read_bytes()
        assert entry["bytes"] == len(content)
        if name.endswith(".tsv"):
            assert entry["rows"] == content.count(b"\n") - (0 if "CoLA" in name and "test" not in name else 1)
        elif name.startswith("levels/"):
            assert entry["rows"] == len(json.loads(content))
        elif name.endswith(".json"):
            assert entry["rows"] == len(questions(full / name))
        else:
            assert entry["rows"] == content.count(b"<doc ")


def test_equal_call_reuses_and_changed_file_is_made_anew(tmp_path: pathlib.Path) -> None:
    directory = tmp_path / "data"
    first = microworld.generate(directory, scale=0.02)
    victim = directory / "glue/RTE/dev.tsv"
    stamp, content = victim.stat().st_mtime_ns, victim.read_bytes()
    assert microworld.generate(directory, scale=0.02) == first
    assert victim.stat().st_mtime_ns == stamp
    victim.write_bytes(content + b"x")
    (directory / "glue/RTE/extra.tsv").write_text("x")
    assert microworld.generate(directory, scale=0.02) == first
    assert victim.read_bytes() == content
    assert not (directory / "glue/RTE/extra.tsv").exists()
    assert microworld.generate(directory, seed=1, scale=0.02) != first
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_broken_manifest_is_no_reason_to_fail(tmp_path: pathlib.Path) -> None:
    directory = tmp_path / "data"
    first = microworld.generate(directory, scale=0.02)
    (directory / write.MANIFEST).write_text('{"files": []}')
    assert microworld.generate(directory, scale=0.02) == first


def test_foreign_directory_is_left_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(FileExistsError, match="holds other files"):
        microworld.generate(tmp_path, scale=0.02)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("scale", [0.0, -1.0, 1.5, float("nan")])
def test_scale_out_of_range_is_refused(tmp_path: pathlib.Path, scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be"):
        microworld.generate(tmp_path / "data", scale=scale)


@pytest.mark.parametrize("existed", [False, True])
def test_killed_generation_leaves_nothing_behind(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, existed: bool
) -> None:
    directory = tmp_path / "data"
    if existed:
        microworld.generate(directory, scale=0.02)
    before = write.tree_digests(directory)

    def killed(path: pathlib.Path, content: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        microworld.generate(directory, seed=9, scale=0.02)
    assert write.tree_digests(directory) == before
    assert [path.name for path in tmp_path.iterdir()] == (["data"] if existed else [])


@pytest.mark.parametrize("task", list(LAYOUTS))
def test_glue_layout(full: pathlib.Path, task: str) -> None:
    for split in splits(task):
        lines = read_lines(full / f"glue/{task}/{split}.tsv")
        width = LAYOUTS[task][0][("train", "dev", "test").index(split.split("_")[0])]
        assert {len(cells) for cells in lines} == {width}
        header = HEADERS.get(f"{task}/{split}")
        if header is not None:
            assert lines[0] == header.split("|" if "|" in header else " ")
        size = {"train": 3_000 if task == "MNLI" else 2_000, "dev": 1_000, "test": 400}[split.split("_")[0]]
        assert len(lines) - (0 if task == "CoLA" and split != "test" else 1) == size
        if split.startswith("test"):
            continue
        found = examples(full, task, split)
        assert all(first and (second or LAYOUTS[task][1][1] is None) for first, second, _ in found)
        assert max(len(tokens(f"{first} {second}")) for first, second, _ in found) <= 40


def test_cola_marks_broken_sentences(full: pathlib.Path) -> None:
    for cells in read_lines(full / "glue/CoLA/dev.tsv"):
        assert cells[2] == ("" if cells[1] == "1" else "*")


def test_mnli_genres_differ_between_matched_and_mismatched(full: pathlib.Path) -> None:
    genres = {
        split: {cells[3] for cells in read_lines(full / f"glue/MNLI/{split}.tsv")[1:]} for split in splits("MNLI")
    }
    assert genres["train"] == genres["dev_matched"] == genres["test_matched"] == {"fiction", "travel", "government"}
    assert genres["dev_mismatched"] == genres["test_mismatched"] == {"letters", "telephone"}


@pytest.mark.parametrize("version", ["v1.1", "v2.0"])
@pytest.mark.parametrize("split", ["train", "dev"])
def test_squad_answers_stand_where_they_are_said_to(full: pathlib.Path, version: str, split: str) -> None:
    found = questions(full / f"squad/{split}-{version}.json")
    assert len({question["id"] for _, question in found}) == len(found) == {"train": 2_000, "dev": 800}[split]
    missing = 0
    for context, question in found:
        assert len(context.split()) <= 40
        assert len(tokens(context)) + len(tokens(question["question"])) + 3 <= 64
        answers = question["answers"]
        if version == "v2.0":
            assert question["is_impossible"] == (not answers)
        if not answers:
            missing += 1
            answers = question["plausible_answers"]
        for answer in answers:
            start, text = answer["answer_start"], answer["text"]
            assert text and context[start : start + len(text)] == text
            # The answer is made of whole words and does not stand in the question.
            assert not context[start + len(text)].isalnum() and (start == 0 or not context[start - 1].isalnum())
            assert re.search(rf"\b{re.escape(text)}\b", question["question"]) is None
    # The official v2.0 files have 33 % and 50 %.
    share = 0.0 if version == "v1.1" else {"train": 0.334, "dev": 0.5}[split]
    assert missing / len(found) == pytest.approx(share, abs=0.03)


def test_squad_paragraphs_state_the_world(full: pathlib.Path) -> None:
    world = make_world(0)
    facts = set(world.facts())
    values = {(fact.subject, fact.relation): fact.value for fact in world.facts()}
    written = {context for context, _ in questions(full / "squad/dev-v2.0.json")}
    with_facts = 0
    for paragraph in squad.paragraphs(0, "v2.0", "dev", world, 800):
        if paragraph.questions:
            assert paragraph.text in written
        with_facts += bool(paragraph.facts)
        assert facts.issuperset(paragraph.facts)
        assert all(fact.value in paragraph.text for fact in paragraph.facts)
        for question in paragraph.questions:
            if question.fact is None:
                continue
            assert question.fact.subject in question.text
            assert (question.fact in paragraph.facts) == question.answerable
            assert (question.answer == values[question.fact.subject, question.fact.relation]) == question.answerable
            # A distractor has the type of the answer.
            told = {RELATIONS[f.relation].answer for f in paragraph.facts if f.value == question.answer}
            assert RELATIONS[question.fact.relation].answer in told
    assert with_facts > 50


def _corpus_counts(directory: pathlib.Path) -> collections.Counter[str]:
    text = (directory / "pretrain/microworld/corpus.wikiextractor.txt").read_text(encoding="utf-8")
    body = [line for line in text.split("\n") if line and not line.startswith(("<doc", "</doc"))]
    return collections.Counter(token for line in body for token in tokens(line))


def test_corpus_layout_and_size(full: pathlib.Path) -> None:
    sizes = {}
    documents = {}
    for name in ("corpus", "validation"):
        text = (full / f"pretrain/microworld/{name}.wikiextractor.txt").read_text(encoding="utf-8")
        found = re.findall(r'<doc id="(\d+)" url="\S+" title="([^"]+)">\n(.+)\n\n(.+)\n</doc>\n', text)
        assert len(found) == text.count("<doc ") == text.count("</doc>")
        assert [int(entry[0]) for entry in found] == list(range(1, len(found) + 1))
        assert all(title == line for _, title, line, _ in found)
        sizes[name] = sum(len(body.split()) for *_, body in found)
        documents[name] = {body for *_, body in found}
    assert 350_000 < sizes["corpus"] < 450_000
    assert 19_000 < sizes["validation"] < 21_000
    assert not documents["corpus"] & documents["validation"]


def test_words_held_out_of_training_occur_in_the_corpus(full: pathlib.Path) -> None:
    counts = _corpus_counts(full)
    classes = lexicon.word_classes()
    rare = {word: counts[word] for word, group in classes.items() if not group.startswith("plural")}
    assert min(rare.values()) >= MINIMUM_COUNT
    assert len(counts) < 1_000
    unseen = {word.lower() for word in lexicon.UNSEEN}
    assert len(unseen) >= 90
    for task in LAYOUTS:
        train, dev = (
            {token for first, second, _ in examples(full, task, split) for token in tokens(f"{first} {second}")}
            for split in ("train", dev_of(task))
        )
        new = dev - train
        # The errors of CoLA are made of words that nobody writes.
        assert all(counts[token] > 0 for token in (dev | train) - set(grammar._OVER_REGULAR.values()))
        assert len(new & classes.keys()) >= 25
        # Names of towns and companies are values of facts in QNLI, and "found" stands in a frame of SST-2.
        if task != "QNLI":
            assert not (train - {"found"}) & unseen
    for word in ("pine", "terrible", "wonderful"):
        assert word in unseen


def test_half_of_the_dev_examples_need_a_held_out_word(full: pathlib.Path) -> None:
    for task in LAYOUTS:
        train = {t for a, b, _ in examples(full, task, "train") for t in tokens(f"{a} {b}")}
        dev = examples(full, task, dev_of(task))
        new = sum(any(token not in train for token in tokens(f"{a} {b}")) for a, b, _ in dev)
        assert new / len(dev) > 0.4


def test_every_word_has_one_class() -> None:
    words = [word for senses in lexicon.SENSES.values() for word in senses]
    for group in (
        lexicon.POSITIVE, lexicon.NEGATIVE, lexicon.LIKED, lexicon.DISLIKED, lexicon.TRIUMPHS, lexicon.FAILURES,
        lexicon.PROFESSIONS, lexicon.MATERIALS, lexicon.SITES, lexicon.REVIEWED, lexicon.REVIEWERS,
        lexicon.NAMES, lexicon.FAMILY, lexicon.TOWNS, lexicon.COUNTRIES, lexicon.RIVERS, lexicon.COMPANIES,
    ):  # fmt: skip
        words += group
    assert [word for word, count in collections.Counter(words).items() if count > 1] == []


@pytest.mark.parametrize(
    ("noun", "expected"),
    [("box", "boxes"), ("daisy", "daisies"), ("gem", "gems"), ("cello", "cellos"), ("bus", "buses")],
)
def test_plural(noun: str, expected: str) -> None:
    assert lexicon.plural(noun) == expected
