"""What these tests share: a complete run; a browser without network, a page built from records, a fresh view of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leaderboard.build import build
from tasks.system.atomic_write import write_text
from tasks.system.file_lock import builder_lock
from tests.e2e.page_data import SYSTEMS, make_history, make_record
from tests.e2e.tab import Tab
from tests.e2e.tiny_run import finish


def _chromium() -> str | None:
    names = ("/usr/bin/chromium", "chromium", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
    path = _chromium()
    if path is None:
        pytest.skip("no browser: neither /usr/bin/chromium nor chromium or google-chrome on PATH")
    switches = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    switches += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=switches)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    return build(
        [make_record(*system) for system in SYSTEMS], out, title="AutoDistill-Bench leaderboard", history=make_history()
    )


@pytest.fixture(scope="session")
def shared_tab(browser: Any, site: Path) -> Iterator[Tab]:
    tab = Tab(browser, site, viewport={"width": 1280, "height": 900})
    yield tab
    tab.context.close()


@pytest.fixture
def tab(shared_tab: Tab) -> Iterator[Tab]:
    # The page keeps its whole state in the address, so loading it anew is a fresh start.
    shared_tab.problems.clear()
    shared_tab.page.emulate_media(color_scheme="light")
    shared_tab.page.set_viewport_size({"width": 1280, "height": 900})
    yield shared_tab
    assert shared_tab.problems == []


@pytest.fixture(scope="session")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed `run`, its `output.txt` and the `cache` that it filled; one for all workers."""
    folder = tmp_path_factory.getbasetemp()
    shared = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "complete"
    with builder_lock(shared):
        if not (shared / "output.txt").exists():
            write_text(shared / "output.txt", finish(shared / "run", f"--cache_dir={shared / 'cache'}"))
    return shared


@pytest.fixture(scope="session")
def complete(shared_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the undisturbed run, and its output."""
    workdir = shutil.copytree(shared_run / "run", tmp_path_factory.mktemp("complete") / "run")
    return workdir, (shared_run / "output.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def filled_cache(shared_run: Path) -> str:
    """The flag of the cache that the undisturbed run has filled."""
    return f"--cache_dir={shared_run / 'cache'}"
