"""Readers of official files and of pretraining corpora."""

import gzip
import io
import json
import lzma
import tarfile
from itertools import islice

import pytest

from tasks.catalogue import TASKS, get_task
from tasks.files.layouts import find
from tasks.files.readers import read_examples
from tasks.files.text_files import sha256_file
from tasks.sources.corpora import MAX_PART_SENTENCES, Part, read_parts
from tasks.sources.sentences import split_sentences
from tasks.system.errors import DataError
from tests.helpers.documents import read_documents


def write(root, relative, content):
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(name, root, split="train"):
    return list(read_examples(get_task(name), root, split))


SST2 = "sentence\tlabel\na fine film \t1\nit's \"bad\t0\n"


@pytest.mark.parametrize("ending", ["", ".gz", ".xz"])
def test_compression_makes_no_difference(tmp_path, ending):
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[ending]
    write(tmp_path, f"glue/SST-2/train.tsv{ending}", pack(SST2.encode()))
    assert read("glue_sst2_v1", tmp_path) == [
        {"idx": 0, "sentence": "a fine film ", "label": 1},
        {"idx": 1, "sentence": "it's \"bad", "label": 0},
    ]


def test_byte_order_mark_windows_lines_and_odd_separators(tmp_path):
    text = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t1\t2\ta\u2028b\x85c\td\r\n"
    write(tmp_path, "glue/MRPC/train.tsv", text)
    assert read("glue_mrpc_v1", tmp_path) == [{"idx": 0, "sentence1": "a\u2028b\x85c", "sentence2": "d", "label": 1}]


def test_cola_has_no_header_but_its_test_file_has(tmp_path):
    write(tmp_path, "glue/CoLA/train.tsv", "gj04\t1\t\tIt rained.\ngj04\t0\t*\tRained it.")
    write(tmp_path, "glue/CoLA/test.tsv", "index\tsentence\n0\tWho?\n")
    assert [example["label"] for example in read("glue_cola_v1", tmp_path)] == [1, 0]
    assert read("glue_cola_v1", tmp_path, "test") == [{"idx": 0, "sentence": "Who?", "label": -1}]


def test_mnli_columns_are_found_by_name(tmp_path):
    header = "index\tpromptID\tgenre\tsentence1\tsentence2\tlabel1\tlabel2\tgold_label\n"
    write(tmp_path, "glue/MNLI/dev_matched.tsv", header + "0\t1\tg\ta\tb\tneutral\tneutral\tcontradiction\n")
    assert read("glue_mnli_matched_v1", tmp_path, "validation") == [
        {"idx": 0, "sentence1": "a", "sentence2": "b", "label": 2}
    ]


def test_qqp_broken_rows_are_skipped_and_indices_stay_dense(tmp_path):
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    write(tmp_path, "glue/QQP/train.tsv", header + "1\t1\t2\ta\tb\t0\n2\t3\tbroken\n3\t4\t5\tc\td\t1\n")
    assert [(example["idx"], example["label"]) for example in read("glue_qqp_v1", tmp_path)] == [(0, 0), (1, 1)]


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("glue_sst2_v1", "SST-2", "sentence\tlabel\na\t1\nb\n", "line 3: 1 columns instead of 2"),
        ("glue_sst2_v1", "SST-2", "sentence\tlabel\na\t2\n", "line 2: label is '2'; expected one of 0, 1"),
        ("glue_sst2_v1", "SST-2", "text\tlabel\na\t1\n", "line 1: no column 'sentence'"),
        ("glue_sst2_v1", "SST-2", "sentence\tscore\na\t1\n", "line 1: no column 'label'"),
        ("glue_sst2_v1", "SST-2", "label\tsentence\tlabel\n", "line 1: 2 columns 'label'"),
        ("glue_sst2_v1", "SST-2", "sentence\tlabel\na\t1\n\n", "line 3: 1 columns instead of 2"),
        ("glue_sst2_v1", "SST-2", "sentence\tlabel\na\t\x1b[31m\n", r"label is '\\x1b\[31m'; expected"),
        ("glue_sst2_v1", "SST-2", "sentence\tlabel\na\t" + "9" * 9999 + "\n", r"label is '9{77}\.\.\.'; expected"),
        ("glue_sst2_v1", "SST-2", "sentence\tlabel\n".encode("utf-16"), "line 1: byte 0xff at position 0 is not UTF-8"),
        ("glue_cola_v1", "CoLA", "source\tlabel\tmark\tsentence\n", "line 1: label is 'label'; expected one of 0, 1"),
        ("glue_sst2_v1", "SST-2", "", "no examples; 67,349 are expected"),
        ("glue_sst2_v1", "SST-2", "sentence\tlabel\n", "no examples"),
        ("glue_sst2_v1", "SST-2", b"sentence\tlabel\ncaf\xe9\t1\n", "line 2: byte 0xe9 at position 3 is not UTF-8"),
        ("glue_stsb_v1", "STS-B", "sentence1\tsentence2\tscore\na\tb\tnan\n", "line 2: score is 'nan'.*from 0 to 5"),
        ("glue_stsb_v1", "STS-B", "sentence1\tsentence2\tscore\na\tb\t5.1\n", "line 2: score is '5.1'"),
        ("glue_stsb_v1", "STS-B", "sentence1\tsentence2\tscore\na\tb\tbest\n", "line 2: score is 'best'"),
        ("glue_stsb_v1", "STS-B", "sentence1\tsentence2\tscore\na\tb\t0_1\n", "line 2: score is '0_1'"),
        ("glue_stsb_v1", "STS-B", "sentence1\tsentence2\tscore\na\tb\t\n", "line 2: score is ''"),
        (
            "glue_rte_v1",
            "RTE",
            "sentence1\tsentence2\tlabel\na\tb\tyes\n",
            "expected one of entailment, not_entailment",
        ),
    ],
)
def test_bad_tables_are_named(tmp_path, name, file, content, message):
    path = write(tmp_path, f"glue/{file}/train.tsv", content)
    with pytest.raises(DataError, match=message) as caught:
        read(name, tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_says_what_and_where_from(tmp_path):
    with pytest.raises(DataError, match=r"train\.tsv .*67,349 examples.*glue_data.*SST-2\.zip"):
        read("glue_sst2_v1", tmp_path)
    with pytest.raises(DataError, match="no split 'test'"):
        read("squad_v1_1_v1", tmp_path, "test")


def test_damaged_archive(tmp_path):
    write(tmp_path, "glue/SST-2/train.tsv.gz", gzip.compress(SST2.encode() * 100)[:-20])
    with pytest.raises(DataError, match="damaged"):
        read("glue_sst2_v1", tmp_path)
    write(tmp_path, "glue/RTE/train.tsv.xz", b"plain text")
    with pytest.raises(DataError, match="damaged or wrongly named"):
        read("glue_rte_v1", tmp_path)


def squad(context="The cat sat.", **question):
    question = {"id": "q1", "question": "Who?", "answers": [{"text": "cat", "answer_start": 4}], **question}
    return {"data": [{"title": "Cats", "paragraphs": [{"context": context, "qas": [question]}]}]}


def test_squad_example(tmp_path):
    write(tmp_path, "squad/train-v1.1.json", json.dumps(squad()))
    (example,) = read("squad_v1_1_v1", tmp_path)
    assert example == {
        "idx": 0,
        "id": "q1",
        "title": "Cats",
        "question": "Who?",
        "context": "The cat sat.",
        "answers": [{"text": "cat", "answer_start": 4}],
        "is_impossible": False,
    }


def test_impossible_question_has_no_answers(tmp_path):
    content = squad(is_impossible=True, answers=[], plausible_answers=[{"text": "sat", "answer_start": 8}])
    write(tmp_path, "squad/train-v2.0.json", json.dumps(content))
    (example,) = read("squad_v2_0_v1", tmp_path)
    assert example["is_impossible"]
    assert example["answers"] == []


def test_questions_without_answer_are_no_squad_v1_1(tmp_path):
    content = json.dumps(squad(is_impossible=True, answers=[]))
    path = write(tmp_path, "squad/dev-v1.1.json", content)
    question = json.loads(content)["data"][0]["paragraphs"][0]["qas"][0]["id"]
    with pytest.raises(DataError, match=rf"^{path}: id {question}: no answer; SQuAD v1.1 has at least one"):
        read("squad_v1_1_v1", tmp_path, "validation")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "line 1: not JSON"),
        ("[" * 100_000, "not JSON that SQuAD could be"),
        ('{"data": [' + "9" * 5000 + "]}", "not JSON that SQuAD could be"),
        ("[]", "not SQuAD: an object with the list 'data'"),
        ('{"data": {}}', "not SQuAD: an object with the list 'data'"),
        ('{"data": [3]}', r"data\[0\]: not SQuAD: int, an object is expected"),
        ('{"data": [{}]}', r"data\[0\].paragraphs: not SQuAD: NoneType, list is expected"),
        ('{"data": [{"title": 1, "paragraphs": []}]}', r"data\[0\].title: not SQuAD: int, str is expected"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', r"paragraphs\[0\].context: not SQuAD: NoneType"),
        (json.dumps(squad(question=3)), r"qas\[0\].question: not SQuAD: int, str is expected"),
        (json.dumps(squad(question="a\ud800")), r"qas\[0\].question: half of a surrogate pair"),
        (json.dumps(squad(is_impossible="no")), r"qas\[0\].is_impossible: not SQuAD: str, bool is expected"),
        (json.dumps(squad(is_impossible=True)), r"answers \(id q1\): 1 answers; none where is_impossible is true"),
        (json.dumps(squad(answers=[])), r"answers \(id q1\): 0 answers; at least one"),
        (json.dumps(squad(answers=[{"text": "cat", "answer_start": 3}])), "answer_start 3 points at ' ca'"),
        (json.dumps(squad(answers=[{"text": "cat", "answer_start": True}])), "answer_start: not SQuAD: bool, int"),
        (json.dumps(squad(answers=[{"text": "cat", "answer_start": "4"}])), "answer_start: not SQuAD: str, int"),
        (json.dumps(squad(answers=[{"text": "", "answer_start": 3}])), "answer_start"),
        (json.dumps(squad(answers=[{"text": "t.", "answer_start": -2}])), "answer_start -2"),
        (json.dumps({"data": squad()["data"] * 2}), r"data\[1\].*the id 'q1' is another question's"),
        (b'{"data": "\xff"}', "byte 0xff at position 10 is not UTF-8"),
        ('{"data": []}', "no examples; 87,599 are expected"),
    ],
)
def test_bad_squad_is_named(tmp_path, content, message):
    path = write(tmp_path, "squad/train-v1.1.json", content)
    with pytest.raises(DataError, match=message) as caught:
        read("squad_v1_1_v1", tmp_path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One went. Two came! Three?", ["One went.", "Two came!", "Three?"]),
        ('He said "No." She left.', ['He said "No."', "She left."]),
        ("Mr. Smith met Dr. J. Doe. They spoke.", ["Mr. Smith met Dr. J. Doe.", "They spoke."]),
        ("Mr. Smith left.", ["Mr. Smith left."]),
        ("Pi is 3.14 or so. It\n goes  on.", ["Pi is 3.14 or so.", "It goes on."]),
        ("  \n ", []),
    ],
)
def test_sentences(text, sentences):
    assert split_sentences(text) == sentences


def test_wikiextractor_documents(tmp_path):
    text = '<doc id="1" title="A">\nA\n\nFirst one. Second one.\nHead.\n</doc>\n'
    text += '<doc id="2" title="B">\nB\n\nThird.\n</doc>\n'
    path = write(tmp_path, "wiki.txt.xz", lzma.compress(text.encode()))
    assert list(read_documents(path)) == [["First one.", "Second one.", "Head."], ["Third."]]


def test_cut_off_wikiextractor_file(tmp_path):
    path = write(tmp_path, "wiki.txt", '<doc id="1">\nA\n\nText.\n')
    with pytest.raises(DataError, match="not closed"):
        list(read_documents(path))


def test_wikitext_documents(tmp_path):
    text = (
        " \n = Lobster = \n \n It is big . It swims . \n \n = = Life = = \n \n Long . \n \n = Crab = \n \n Small . \n"
    )
    path = write(tmp_path, "wiki.txt.gz", gzip.compress(text.encode()))
    assert list(read_documents(path)) == [["It is big .", "It swims .", "Life", "Long ."], ["Small ."]]


def test_books_are_unwrapped_and_kept_apart(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, text in {
            "a.txt": "\ufeffIt was\r\nlate. He\r\nslept.\r\n\r\nThen morning",
            "b.txt": "Other book.",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    path = write(tmp_path, "corpus.tar.xz", buffer.getvalue())
    assert list(read_documents(path)) == [["It was late.", "He slept.", "Then morning"], ["Other book."]]


def test_long_documents_come_in_parts(tmp_path):
    """A book has parts of at most 1,000 sentences, all with its number; nothing is read ahead."""
    write(tmp_path, "books/a.txt", "\n\n".join(f"Sentence {number}." for number in range(2500)))
    write(tmp_path, "books/b.txt", " \n")
    write(tmp_path, "books/c.txt", "Short book.")
    parts = list(read_parts(tmp_path / "books"))
    assert [(part.document, len(part.sentences)) for part in parts] == [(0, 1000), (0, 1000), (0, 500), (1, 1)]
    assert [sentence for part in parts for sentence in part.sentences] == [
        sentence for document in read_documents(tmp_path / "books") for sentence in document
    ]
    path = write(tmp_path, "endless.txt", b"One line.\n\n" * 3000 + b"\xff")
    assert next(read_parts(path)) == Part(0, ["One line."] * 1000)


def test_article_inside_an_article(tmp_path):
    path = write(tmp_path, "wiki.txt", '<doc id="1">\nA\n\nText.\n<doc id="2">\nB\n\nText.\n</doc>\n')
    with pytest.raises(DataError, match=r"wiki\.txt: line 5: <doc> inside <doc>; </doc> is expected"):
        list(read_documents(path))


def test_folder_is_read_in_name_order(tmp_path):
    write(tmp_path, "wiki/AB/wiki_00", "Second.")
    write(tmp_path, "wiki/AA/wiki_00", "First.")
    assert list(read_documents(tmp_path / "wiki")) == [["First."], ["Second."]]


def test_missing_or_empty_corpus(tmp_path):
    with pytest.raises(DataError, match="is missing: it should hold pretraining text"):
        list(read_documents(tmp_path / "none.txt"))
    with pytest.raises(DataError, match="no documents"):
        list(read_documents(write(tmp_path, "empty.txt", " \n\n")))


def test_reading_streams(tmp_path):
    article = '<doc id="1">\nA\n\nSome text here.\n</doc>\n'
    broken = b"\xff\xff"
    path = write(tmp_path, "wiki.txt", (article * 10_000).encode() + broken)
    assert len(list(islice(read_documents(path), 5))) == 5


def test_sha256(tmp_path):
    path = write(tmp_path, "x", "abc")
    assert sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.real_data
@pytest.mark.parametrize("name", sorted(TASKS))
def test_official_sizes(name, data_root):
    info = TASKS[name]
    found = [split for split in info.split_stems if find(info, data_root, split)]
    if not found:
        pytest.skip(f"AUTODISTILL_DATA has no files of {name}")
    for split in found:
        count = sum(1 for _ in read_examples(info, data_root, split))
        assert abs(count - info.split_sizes[split]) <= info.size_tolerance


@pytest.mark.real_data
def test_real_corpora(data_root):
    root = data_root / "pretrain"
    wiki = next(read_documents(root / "wikipedia-en" / "AA.wikiextractor.txt.xz"))
    assert wiki[0].startswith("Anarchism is a political philosophy")
    assert sum(1 for _ in read_documents(root / "wikitext-2" / "valid.txt.gz")) == 60
    book = next(read_documents(root / "english-novels" / "corpus.tar.xz"))
    assert not any("\r" in sentence or "\n" in sentence for sentence in book)


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "documents", "words"),
    [
        # 4 of the 6,514 articles have a title only.
        ("wikipedia-en/AA.wikiextractor.txt.xz", 6_510, 16_238_888),
        ("english-novels/corpus.tar.xz", 93, 13_274_050),
        ("wikitext-2/valid.txt.gz", 60, 210_731),
    ],
)
def test_real_corpora_are_read_to_the_end(data_root, path, documents, words):
    numbers, found = set(), 0
    for part in read_parts(data_root / "pretrain" / path):
        assert 0 < len(part.sentences) <= MAX_PART_SENTENCES
        numbers.add(part.document)
        found += sum(sentence.count(" ") + 1 for sentence in part.sentences)
    assert numbers == set(range(documents))
    assert found == words
