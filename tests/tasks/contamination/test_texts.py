"""Which texts are equal, and which sentences are long enough to count."""

import pytest

from tasks.contamination.texts import (
    MINIMUM_WORDS,
    count_words,
    digest,
    example_digests,
    found_sentences,
    letters,
    text_digests,
)

LONG = "The quick brown fox jumps over the lazy dog."


@pytest.mark.parametrize(
    "other",
    [
        "the quick brown fox jumps over the lazy dog",
        " The  quick\tbrown fox\njumps over the lazy dog ! ",
        "\u201cThe quick brown fox\u201d \u2014 jumps over the lazy dog\u2026",
        "Ｔｈｅ quick brown fox jumps over the lazy dog",
        "The quick brown ﬁ fox jumps over the lazy dog".replace("ﬁ ", ""),
    ],
)
def test_case_punctuation_and_forms_of_letters_do_not_count(other: str) -> None:
    assert letters(other) == letters(LONG)
    assert text_digests(other).whole == text_digests(LONG).whole


def test_letters_and_digits_count() -> None:
    texts = [LONG, LONG.replace("dog", "dogs"), "straße", "strasse", "naïve", "naive", "12", "21", "x_1", "x 2"]
    assert len({letters(text) for text in texts}) == len(texts)
    # Tokenised text is equal to what it was made of.
    assert letters("he does n't , really .") == letters("He doesn't, really.")
    assert letters("ﬁve") == letters("five")


def test_the_table_of_bytes_is_the_rule_for_all_characters() -> None:
    # A letter outside ASCII sends the same characters the other way.
    for code in range(128):
        text = f"a{chr(code)}b{chr(code)}"
        assert letters(text) + "é".encode() == letters(text + "é")
        assert count_words(text + " é") == count_words(text) + 1


def test_a_text_without_letters_equals_no_other() -> None:
    assert text_digests("?!").whole is None
    assert example_digests(["?!", "..."]).parts == ()


def test_sentences_count_from_eight_words() -> None:
    short = " ".join(["word"] * (MINIMUM_WORDS - 1)) + "."
    enough = " ".join(["Word"] * MINIMUM_WORDS) + "."
    assert text_digests(short).sentences == ()
    assert text_digests(f"Short one. {enough} {LONG}").sentences == (digest(letters(enough)), digest(letters(LONG)))
    # The shortest text that can have so many words.
    assert text_digests("a b c d e f g h").sentences == (digest(b"abcdefgh"),)


def test_a_pair_is_neither_its_texts_nor_the_other_order() -> None:
    pairs = [["a", "b"], ["b", "a"], ["ab"], ["a"], ["ab", ""]]
    assert len({example_digests(texts).whole for texts in pairs}) == len(pairs)


def test_sentences_of_a_text_are_found() -> None:
    wanted = {digest(letters(LONG)), digest(b"abcdefgh")}
    assert found_sentences(wanted, ["no", LONG.upper(), "another sentence that is not there"]) == {
        digest(letters(LONG))
    }
