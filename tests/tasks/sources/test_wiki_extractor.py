"""Articles of WikiExtractor, in both of its forms."""

import html
import io
import json
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.sources.corpora import read_parts
from tasks.sources.wiki_extractor import unescape
from tasks.system.errors import DataError
from tests.helpers.documents import read_documents


def element(title, body, title_line=True):
    """An article as WikiExtractor 3.0.6 writes it."""
    head = f"{title}\n\n" if title_line else ""
    return f'<doc id="1" url="https://en.wikipedia.org/wiki?curid=1" title="{title}">\n{head}{body}\n\n</doc>\n'


def json_line(title, text):
    return json.dumps({"id": "1", "revid": "2", "url": "https://e.org/1", "title": title, "text": text}) + "\n"


def documents(tmp_path, text):
    (tmp_path / "wiki_00").write_text(text, encoding="utf-8")
    return list(read_documents(tmp_path / "wiki_00"))


def test_json_lines_are_articles(tmp_path):
    text = json_line("A", "One went. Two came!\nHead.") + "\n" + json_line("Empty", "") + json_line("B", "Third — ok.")
    assert documents(tmp_path, text) == [["One went.", "Two came!", "Head."], ["Third — ok."]]
    # An article without text is no document, and does not count.
    assert [part.document for part in read_parts(tmp_path / "wiki_00")] == [0, 1]


def test_json_lines_of_another_corpus_stay_as_they_are(tmp_path):
    text = json.dumps({"text": "Title\n\nWrite &lt; for it. So."}) + "\n"
    assert documents(tmp_path, text) == [["Title", "Write &lt; for it.", "So."]]


def test_both_forms_give_the_same_articles(tmp_path):
    articles = [("AT&T", "AT&amp;T grew. It&#39;s &lt;big&gt;."), ("One", "Only this."), ('"Heroes"', "A song.")]
    expected = [["AT&T grew.", "It's <big>."], ["Only this."], ["A song."]]
    for title_line in (True, False):
        assert documents(tmp_path, "".join(element(*article, title_line) for article in articles)) == expected
    assert documents(tmp_path, "".join(json_line(*article) for article in articles)) == expected
    # Forks write the title into the text too.
    assert documents(tmp_path, "".join(json_line(name, f"{name}\n\n{text}") for name, text in articles)) == expected


def test_a_first_line_that_is_not_the_title_stays(tmp_path):
    text = '<doc id="1" title="Crab" nonfiltered="1">\nCrab\nCrab\nSmall.\n</doc>\n<doc id="2">\nCrab\n</doc>\n'
    assert documents(tmp_path, text) == [["Crab", "Small."], ["Crab"]]
    assert documents(tmp_path, '<doc id="1" title="Crab">\nCrabs swim.\n</doc>\n') == [["Crabs swim."]]


def test_members_of_an_archive_are_recognised_as_files_are(tmp_path):
    with tarfile.open(tmp_path / "wiki.tar.bz2", mode="w:bz2") as archive:
        for name, text in {"a": element("A", "First."), "b": json_line("B", "Second."), "c": "Third."}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    assert list(read_documents(tmp_path / "wiki.tar.bz2")) == [["First."], ["Second."], ["Third."]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json_line("A", "B.") + '{"text": \n', r"wiki_00: line 2: not JSON \(.*\); one object with the member 'text'"),
        ('{"title": "A", "body": "B."}\n', r"line 1: the members are title, body; a JSON object with the text 'text'"),
        ('{"text": ["A.", "B."]}\n', r"line 1: the members are text; a JSON object with the text 'text'"),
        ('[{"text": "A."},\n{"text": "B."}]\n', r"line 1: not JSON"),
        ('{\n "text": "A."\n}\n', r"line 1: not JSON"),
        (json_line("A", "B.") + "[]\n", r"line 2: no object; a JSON object"),
    ],
)
def test_json_of_another_form_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        documents(tmp_path, text)


def test_prose_that_begins_with_a_bracket_is_text(tmp_path):
    assert documents(tmp_path, "[1] A note.\n{sic} in it.\n") == [["[1] A note. {sic} in it."]]


@given(st.text())
def test_what_was_escaped_comes_back(text):
    assert unescape(html.escape(text)) == text
    assert unescape(html.escape(text, quote=False)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("&amp;lt;", "&lt;"),
        ("x &eacute;&#233;&#xE9;&#XE9; y", "x éééé y"),
        # Without semicolon, or with a name that HTML has not, it is no entity.
        ("?a=b&copy=1&ampx; AT&T; &notit; &amp", "?a=b&copy=1&ampx; AT&T; &notit; &amp"),
    ],
)
def test_entities(text, expected):
    assert unescape(text) == expected
