"""The page of a run that goes on, in Chromium: what it shows, and that it loads itself again where the reader was."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.pipeline.workdir import locked
from benchmark.records.record import write
from leaderboard import watch
from tests.e2e.page_data import SYSTEMS, make_record
from tests.e2e.tab import Tab
from tests.helpers.unfinished_run import make_unfinished, run_config, write_trials


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = make_unfinished(tmp_path / "run", run_config(8))
    write_trials(folder, run_config(8), 5, begun=7, failed=(2,))
    return folder


@pytest.fixture
def watched(browser: Any, run: Path) -> Iterator[Tab]:
    with locked(run):
        page, _ = watch.build_page(run, run / "watch", 1)
        tab = Tab(browser, page, viewport={"width": 1280, "height": 700})
        yield tab
    tab.context.close()
    assert tab.problems == []


def until(page: Any, expression: str) -> None:
    """Waits until an expression is true; the page may load itself meanwhile, and its policy forbids to poll in it."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception):
            if page.evaluate(expression):
                return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


def test_trials_front_and_hypervolume_are_shown(watched: Tab) -> None:
    page = watched.open()
    assert page.title() == "Running: 5 of 8 trials: micro_test 0.1"
    assert "This run goes on." in page.inner_text("header")
    facts = page.inner_text("dl.facts")
    assert "5 of 8, 2 running, 1 failed" in facts and "about 20 s" in facts and " ago)" in facts
    assert page.locator("#trials tbody tr").count() == 5
    assert page.locator("#history-scatter .point").count() == 4
    assert page.locator("#history-volume path.volume").count() == 1
    assert page.locator("#systems, #tradeoff").count() == 0
    page.focus(".skip")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.querySelector('#trials') !== null")


def test_it_loads_the_next_state_and_keeps_the_place(watched: Tab, run: Path) -> None:
    page = watched.open("#trials=-accuracy")
    page.wait_for_selector("#history-volume svg")
    page.mouse.wheel(0, 400)
    until(page, "scrollY > 100")
    place = page.evaluate("scrollY")
    write_trials(run, run_config(8), 6)
    watch.build_page(run, run / "watch", 1)
    until(page, "document.querySelectorAll('#trials tbody tr').length === 6")
    until(page, f"Math.abs(scrollY - {place}) < 2")
    assert page.get_attribute("#trials th[data-key='accuracy']", "aria-sort") == "descending"
    assert page.title().startswith("Running: 6 of 8 trials")


def test_an_open_menu_is_not_taken_away(watched: Tab) -> None:
    page = watched.open()
    page.click("#search-files summary")
    page.evaluate("window.kept = true")
    page.wait_for_timeout(1500)
    assert page.evaluate("window.kept") is True
    page.click("h1")
    until(page, "window.kept === undefined")


def test_systems_and_trials_share_the_page(watched: Tab, run: Path) -> None:
    for system in SYSTEMS[:3]:
        record = make_record(*system)
        write(run / "results" / f"{record.id}.json", record)
    watch.build_page(run, run / "watch", 1)
    page = watched.open("#open=micro.found_31")
    assert page.locator("#board tbody tr").count() == 3 and page.locator("#trials tbody tr").count() == 5
    assert page.inner_text("#details-title") == "Found 31"
    page.evaluate("window.kept = true")
    until(page, "window.kept === undefined")
    assert page.inner_text("#details-title") == "Found 31"


def test_before_the_first_trial_there_is_a_page_without_plots(browser: Any, tmp_path: Path) -> None:
    run = make_unfinished(tmp_path / "run", run_config(8))
    page, _ = watch.build_page(run, tmp_path / "page", 1)
    tab = Tab(browser, page)
    shown = tab.open()
    assert shown.inner_text("h1") == "Unfinished: 0 of 8 trials"
    assert "This run is not finished" in shown.inner_text("header")
    assert shown.locator("main section").count() == 0
    assert shown.inner_text("main") == "No trial has ended yet, and no system has a record."
    tab.context.close()
    assert tab.problems == []
