"""The page of published systems in Chromium, without network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leaderboard.export import printable
from leaderboard.published import build_published
from tests.e2e.tab import Tab, sort_by
from tests.helpers.board_records import HOSTILE
from tests.helpers.published_records import TIMES, make_published

MNLI = "task.glue_mnli_matched_v1.test.accuracy"
XLA = "measured.two_cores.b1.l128.float32.xla.t2.p4"
ONNX = "measured.two_cores.b1.l128.float32.onnxruntime.t2.p4"
TPU = "compiled.tpu_v4_core.b1.l128.bfloat16"


@pytest.fixture(scope="module")
def shared(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    records = [make_published(name) for name in TIMES]
    page: Path = build_published(records, tmp_path_factory.mktemp("published"), title="Published models")
    tab = Tab(browser, page, viewport={"width": 1280, "height": 900})
    yield tab
    tab.context.close()


@pytest.fixture
def published(shared: Tab) -> Iterator[Tab]:
    shared.problems.clear()
    shared.page.set_viewport_size({"width": 1280, "height": 900})
    yield shared
    assert shared.problems == []


def test_the_page_opens_with_the_score_that_most_systems_have(published: Tab) -> None:
    page = published.open()
    assert page.input_value("#quality") == "task.squad_v1_1_v1.validation.f1"
    assert page.input_value("#cost") == XLA
    assert page.locator("#plot .point").count() == 5
    assert "no latency here: No architecture" in page.inner_text("#plot-missing")
    assert page.locator("#board tbody tr").count() == len(TIMES)
    assert printable(HOSTILE) in page.eval_on_selector_all("#board bdi", "nodes => nodes.map(n => n.textContent)")
    assert "The machine was not idle" in page.inner_text("header") and "MiniLM (0.8 cores)" in page.inner_text("header")


def test_only_systems_with_both_numbers_are_drawn_and_the_others_named(published: Tab) -> None:
    page = published.open()
    page.select_option("#quality", MNLI)
    ids = page.eval_on_selector_all("#plot .point", "nodes => nodes.map(n => n.dataset.id)")
    assert sorted(ids) == ["published-bert_base", "published-distilbert6", "published-tinybert6"]
    hint = page.inner_text("#plot-missing")
    assert "No reported MNLI-m accuracy, test: MiniLM" in hint and "no latency here: No architecture" in hint
    solid = page.eval_on_selector_all("#plot .point:has(.solid)", "nodes => nodes.map(n => n.dataset.id)")
    assert sorted(solid) == ["published-distilbert6", "published-tinybert6"]
    page.select_option("#cost", TPU)
    solid = page.eval_on_selector_all("#plot .point:has(.solid)", "nodes => nodes.map(n => n.dataset.id)")
    # Equal latency on the TPU: the better score alone is on the front.
    assert solid == ["published-tinybert6"]
    assert "compiled here" in page.inner_text("#plot-hint")
    page.select_option("#axis", "speedup")
    assert "Speed-up over BERT_BASE by TPU v4 core, compiled here" in page.text_content("#plot")
    solid = page.eval_on_selector_all("#plot .point:has(.solid)", "nodes => nodes.map(n => n.dataset.id)")
    assert solid == ["published-tinybert6"]
    page.reload()
    assert page.input_value("#axis") == "speedup"
    assert (page.input_value("#quality"), page.input_value("#cost")) == (MNLI, TPU)


def test_every_column_of_numbers_says_whose_it_is(published: Tab) -> None:
    page = published.open()
    heads = page.eval_on_selector_all(
        "#board thead th.number", "nodes => nodes.map(n => [n.dataset.key, n.querySelector('small')?.textContent])"
    )
    whose = dict(heads)
    assert whose[XLA] == whose[ONNX] == "measured here" and whose[TPU] == "compiled here"
    assert whose["average.col9.test"] == whose["task.squad_v1_1_v1.validation.f1"] == "reported"
    assert None not in whose.values()
    row = page.locator("#board tr[data-id='published-distilbert6']")
    assert "Somebody et al. 2020" in row.inner_text() and "86.2: Somebody" in row.inner_text()
    assert "2.00× (1.80–2.20)" in row.inner_text()
    assert "the reference" in page.inner_text("#board tr[data-id='published-bert_base']")


def test_columns_sort_with_gaps_last(published: Tab) -> None:
    page = published.open()
    assert published.column(XLA) == ["30.0", "40.0", "75.0", "75.5", "150", "–"]
    assert sort_by(page, ONNX) == "ascending"
    assert published.column(ONNX)[-2:] == ["–", "–"]
    assert sort_by(page, "average.col9.test") == "descending"
    assert published.column("average.col9.test") == ["79.6", "79.4", "76.8", "–", "–", "–"]


def test_a_point_is_reached_and_followed_by_keyboard(published: Tab) -> None:
    page = published.open()
    page.focus("#plot .point[data-id='published-distilbert6']")
    told = page.inner_text("#tooltip")
    assert "Reported: SQuAD v1.1 F1, validation 85.8, Somebody et al. 2020" in told
    assert "Measured here: 75.0 ms" in told and "the speed of BERT_BASE" in told
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.dataset.id") == "published-distilbert6"
    assert page.locator("#board tr.open").count() == 1
    page.focus(".skip")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.querySelector('#board') !== null")


def test_every_reported_number_is_listed_with_split_and_source(published: Tab) -> None:
    page = published.open()
    everything = page.locator("#numbers tbody tr").count()
    assert everything == sum(len(make_published(name).reported) for name in TIMES)
    page.select_option("#system", "published-minilm")
    rows = page.locator("#numbers tbody tr").all_inner_texts()
    assert len(rows) == 2 and all("validation" in row for row in rows)
    links = page.eval_on_selector_all("#numbers a", "links => links.map(a => [a.href, a.rel])")
    assert links == [["https://arxiv.org/abs/1810.04805", "noreferrer"]] * 2


@pytest.mark.parametrize("fragment", ["#y=__proto__&x=reported.Pixel&open=no&sort=-no&system=x", "#systems"])
def test_a_nonsense_address_is_survived(published: Tab, fragment: str) -> None:
    page = published.open(fragment)
    assert page.locator("#board tbody tr").count() == len(TIMES)
    assert page.locator("#plot .point").count() == 5


def test_no_width_scrolls_sideways(published: Tab) -> None:
    page = published.open()
    for width in (1280, 768, 380):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function("document.querySelector('#plot svg').clientWidth <= document.body.clientWidth")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_files_download(published: Tab, tmp_path: Path) -> None:
    page = published.open()
    page.click(".menu summary")
    for name in ("scores.csv", "latencies.csv"):
        with page.expect_download() as download:
            page.click(f"a[href='{name}'][download]")
        download.value.save_as(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 500


def test_a_page_without_latencies_says_so(browser: Any, tmp_path: Path) -> None:
    tab = Tab(browser, build_published([make_published("unknown")], tmp_path, title="Published"))
    page = tab.open()
    assert "No system has both of these numbers" in page.inner_text("#plot")
    assert page.locator("#board tbody tr").count() == 1
    tab.context.close()
    assert tab.problems == []
