"""`python -m tasks describe`: its text, and its example, which is the one in the files."""

import json
import re
import subprocess
import sys

import pytest

from tasks.__main__ import main
from tasks.catalogue import TASKS, get_task
from tasks.describe.task import example
from tasks.encoding import vocabulary
from tasks.files.readers import read_examples


def described(capsys, *words):
    assert main(["describe", *words]) == 0
    return capsys.readouterr().out


def test_facts(capsys):
    text = described(capsys, "glue_stsb_v1")
    for part in ("0 to 5", "train: 5,749", "spearman, -100 to 100", "higher is better", "official9", "128 tokens"):
        assert part in text
    text = described(capsys, "glue_ax_v1")
    for part in ("glue_mnli_matched_v1", "0 entailment, 1 neutral, 2 contradiction", "diagnostic.tsv", "0e13510b1bb1"):
        assert part in text


def test_pretraining_tasks(capsys):
    text = described(capsys, "pretrain_mlm_v1")
    tokens = re.search(r"tokens: (.*)", text).group(1).split()
    assert tokens[0] == "[CLS]" and tokens[-1] == "[SEP]" and tokens.count("[SEP]") == 1
    text = described(capsys, "pretrain_mlm_nsp_v1")
    tokens = re.search(r"tokens: (.*)", text).group(1).split()
    types = re.search(r"token_type_ids: (.*)", text).group(1).split()
    assert tokens.count("[SEP]") == 2
    assert types == ["0"] * (tokens.index("[SEP]") + 1) + ["1"] * (len(tokens) - tokens.index("[SEP]") - 1)
    assert re.search(r"next_sentence_label: [01] \(the second part", text)
    assert main(["list"]) == 0
    assert "pretrain_mlm_nsp_v1" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_has_an_example_without_any_data(name):
    before, after = example(TASKS[name]).split("after: ")
    assert re.search(r"^  (sentence|sentence1|question|question1): \"", before, re.MULTILINE)
    tokens = re.search(r"tokens: (.*)", after).group(1).split()
    assert tokens[0] == "[CLS]"
    assert tokens.count("[SEP]") == len(TASKS[name].text_columns)
    assert "[UNK]" not in tokens


def test_example_of_given_files(tmp_path):
    (tmp_path / "RTE").mkdir()
    text = "index\tsentence1\tsentence2\tlabel\n0\tA dog ran.\tA dog did not run.\tnot_entailment\n"
    (tmp_path / "RTE" / "dev.tsv").write_text(text)
    (tmp_path / "vocab").mkdir()
    words = [*vocabulary.SPECIAL_TOKENS, "a", "dog", "ran", "did", "not", "ru", "##n", "."]
    vocabulary.write(words, tmp_path / "vocab" / "bert-base-uncased.txt")
    text = example(get_task("glue_rte_v1"), tmp_path)
    assert "RTE/dev.tsv" in text
    assert "tokens: [CLS] a dog ran . [SEP] a dog did not ru ##n . [SEP]" in text
    assert "token_type_ids: 0 0 0 0 0 0 1 1 1 1 1 1 1 1" in text
    assert "label: 1 (not_entailment)" in text
    ids = [int(number) for number in re.search(r"input_ids: ([\d ]+) and", text).group(1).split()]
    assert " ".join(words[number] for number in ids) == "[CLS] a dog ran . [SEP] a dog did not ru ##n . [SEP]"


def test_positions_of_a_span_point_at_the_answer(tmp_path):
    context = "Anna sleeps. " * 200 + "Bela plays the violin."
    answer = {"text": "violin", "answer_start": context.index("violin")}
    question = {"id": "1", "question": "What does Bela play?", "answers": [answer]}
    (tmp_path / "squad").mkdir()
    content = {"data": [{"title": "T", "paragraphs": [{"context": context, "qas": [question]}]}]}
    (tmp_path / "squad" / "dev-v1.1.json").write_text(json.dumps(content))
    lines = [line for line in example(get_task("squad_v1_1_v1"), tmp_path).splitlines() if "start_position" in line]
    assert len(lines) > 1
    assert lines[0].endswith("0, 0 ([CLS])")
    answer = re.search(r"\((.*)\)$", lines[-1]).group(1)
    assert answer.replace(" ##", "") == "violin"


def test_bad_folders_are_one_line(capsys, tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        assert main(["describe", "glue_rte_v1", f"--data={folder}"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert str(folder) in error


def test_commands_import_no_tensorflow():
    code = (
        "import sys\nfrom tasks.__main__ import main\nmain(['list'])\nmain(['describe', 'squad_v2_0_v1'])\n"
        "heavy = {'tensorflow', 'seqio', 'jax', 'torch', 'transformers'} & set(sys.modules)\n"
        "sys.exit(' '.join(sorted(heavy)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.real_data
def test_example_of_real_files(data_root):
    first = next(read_examples(get_task("glue_cola_v1"), data_root, "train"))
    text = example(get_task("glue_cola_v1"), data_root)
    assert json.dumps(first["sentence"]) in text
    assert "bert-base-uncased" in text
