"""Counts of evaluated examples that stand in training data."""

import unicodedata
from pathlib import Path

import pytest

from tasks.catalogue import get_task, text_field_names
from tasks.contamination.overlap import Evaluated, Overlap
from tasks.contamination.texts import METHOD, found_sentences
from tasks.files import layouts
from tasks.files.readers import read_examples
from tasks.train_files import with_train_file

LONG = "Nine words of a sentence that anyone may write."
OTHER = "Eight other words which stand in no text."


def test_each_count_is_of_examples() -> None:
    evaluated = Evaluated(
        [
            (LONG, OTHER),
            ("A short text.", LONG),
            ("A short text.", "?"),
            (OTHER, "Nothing equal."),
            (f"First this. {LONG} Then more.", "Nothing equal."),
        ]
    )
    assert evaluated.overlap(None) == Overlap(METHOD, 5, None, None, 4, None)
    training = [("a short text", LONG.upper()), ("It says: no.", f"Before. {LONG}"), ("Then more.", "a b")]
    evaluated.compare_training(training)
    in_text = found_sentences(evaluated.sentences, [LONG.lower(), "A short text."])
    # The second is a training pair; the first, third and fifth share a text or a long sentence; the short sentence
    # `Then more.` of the fifth would not count.
    assert evaluated.overlap(in_text) == Overlap(METHOD, 5, 1, 4, 4, 3)


def test_nothing_to_compare_with_is_not_zero() -> None:
    evaluated = Evaluated([(LONG,)])
    assert (evaluated.overlap(set()).same_example, evaluated.overlap(set()).in_pretraining) == (None, 0)
    evaluated.compare_training([])
    assert (evaluated.overlap(None).same_example, evaluated.overlap(None).in_pretraining) == (0, None)


def texts_of(root: Path, task: str, split: str, train: str = "") -> list[tuple[str, ...]]:
    info = with_train_file(get_task(task), train, ()) if train else get_task(task)
    if layouts.find(info, root, split) is None:
        pytest.skip(f"AUTODISTILL_DATA has no {split} file of {task}")
    return [tuple(row[field] for field in text_field_names(info)) for row in read_examples(info, root, split)]


def test_real_pairs_are_counted_as_a_comparison_of_all_texts_does(data_root: Path) -> None:
    """WNLI's development sentences are made of those of the training file (Wang et al. 2018)."""
    evaluated, training = (texts_of(data_root, "glue_wnli_v1", split) for split in ("validation", "train"))
    counted = Evaluated(evaluated)
    counted.compare_training(training)
    overlap = counted.overlap(None)
    firsts = {text for pair in training for text in pair}
    assert (overlap.examples, overlap.same_example) == (71, sum(pair in set(training) for pair in evaluated))
    # Equality of characters is a part of equality of letters.
    assert overlap.any_text is not None and overlap.any_text >= sum(bool({*pair} & firsts) for pair in evaluated) > 0


def test_the_sample_of_qqp_has_near_duplicates_of_the_development_file(data_root: Path) -> None:
    """A second way to count them, which keeps the texts themselves."""
    sample, development = (
        texts_of(data_root, "glue_qqp_v1", *split) for split in (("train", "train.sample-9999.tsv"), ("validation",))
    )
    pairs = {tuple(map(plain, pair)) for pair in sample}
    expected = sum(tuple(map(plain, pair)) in pairs for pair in development)
    counted = Evaluated(development)
    counted.compare_training(sample)
    assert counted.overlap(None).same_example == expected == 7


def plain(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", text).lower() if c.isalnum())
