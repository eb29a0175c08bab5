"""The leaderboard page in a real browser: offline, without errors, with the promised behaviour."""

from __future__ import annotations

import csv
import json
import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.config import EncoderConfig, to_dict
from benchmark.records import LatencyBlock, MetricScore, Provenance, Record, System, TaskScore, Training
from leaderboard.build import build
from leaderboard.export import printable

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028<!--<script>"
TASKS = (("glue_sst2_v1", "accuracy", 872), ("glue_mrpc_v1", "f1", 408), ("squad_v1_v1", "f1", 1000))
SYSTEMS = (
    # name, title, kind, layers, hidden_size, score, latency in ms
    ("found_12", "Found 12", "found", 6, 128, 71.0, 2.1),
    ("found_31", "Found 31", "found", 12, 128, 76.5, 4.0),
    ("mobilebert", "MobileBERT (micro)", "baseline", 12, 160, 76.0, 5.6),
    ("tinybert", "TinyBERT (micro)", "baseline", 4, 96, 66.4, 1.6),
    ("bert_tiny", HOSTILE, "baseline", 2, 64, 60.2, 1.7),
    ("teacher", "IB-BERT teacher", "teacher", 12, 256, 81.3, 19.0),
    ("untrained", "Untrained control", "control", 6, 128, 50.1, 2.15),
)


def _score(value: float, examples: int, generator: random.Random) -> MetricScore:
    half = 196 * math.sqrt(0.2 / examples)
    seeds = sorted(round(value + generator.uniform(-1.5, 1.5), 2) for _ in range(3))
    return MetricScore(value=seeds[1], per_seed=seeds, interval=(seeds[1] - half, seeds[1] + half))


def _latency(milliseconds: float, generator: random.Random, *, length: int = 64) -> LatencyBlock:
    def samples(center: float) -> list[list[int]]:
        return [[int(center * 1e6 * generator.lognormvariate(0, 0.06)) for _ in range(120)] for _ in range(3)]

    speedup = 19.0 / milliseconds
    return LatencyBlock(
        method="measured",
        chip="cpu_2core",
        batch_size=1,
        sequence_length=length,
        dtype="float32",
        latency_s=milliseconds * 1e-3,
        reference="bert_reference",
        speedup=speedup,
        speedup_interval=(speedup * 0.95, speedup * 1.06),
        noise_floor=0.012,
        samples_ns=samples(milliseconds),
        reference_samples_ns=samples(19.0),
    )


def _record(name: str, title: str, kind: Any, layers: int, width: int, score: float, ms: float) -> Record:
    generator = random.Random(name)
    encoder = EncoderConfig(
        vocab_size=1024, embedding_size=64, hidden_size=width, num_hidden_layers=layers, intra_bottleneck_size=64
    )
    tasks = [
        TaskScore(
            task=task,
            split="validation",
            primary_metric=metric,
            metrics={
                metric: _score(score + 3 * index, examples, generator),
                "other": _score(score, examples, generator),
            },
            num_examples=examples,
            seeds=[0, 1, 2],
        )
        for index, (task, metric, examples) in enumerate(TASKS)
        if name != "tinybert" or index < 2
    ]
    return Record(
        id=f"micro.{name}",
        track="micro",
        track_version="0.1",
        trust="self-reported",
        system=System(
            name=name,
            title=title,
            kind=kind,
            encoder=to_dict(encoder),
            parameters=layers * width * width * 12,
            flops=layers * width * width * 1536,
            flops_sequence_length=64,
        ),
        tasks=tasks,
        averages={"task8_m": score},
        latency=[_latency(ms, generator)] + ([_latency(ms / 2, generator, length=32)] if kind == "found" else []),
        training=Training(
            recipe="mobilebert",
            teacher="teacher",
            steps=800,
            tokens=1_638_400,
            masked_lm_accuracy=None if name == "untrained" else score - 30,
            masked_lm_predictions=5120,
            masked_lm_loss=2.31,
        ),
        provenance=Provenance(
            command="python run_benchmark.py --gin_file=gin/quickstart.gin --workdir=runs/quickstart",
            config_fingerprint="ab" * 32,
            gin_text="DataConfig.source = 'microworld'\n",
            git_commit="0123456789abcdef",
            git_dirty=False,
            versions={"jax": "0.4", "python": "3.11"},
            device={"cpu": "x86_64", "cores": 2},
            data_digests={"glue_sst2_v1": "cd" * 32},
            vocabulary_digest="ef" * 32,
            timing={"distill_s": 41.5},
        ),
    )


def _history() -> dict[str, Any]:
    generator = random.Random(7)
    trials: list[dict[str, Any]] = []
    for trial in range(24):
        layers, width = generator.choice((4, 6, 8, 12)), generator.choice((96, 128, 160, 192))
        encoder = EncoderConfig(vocab_size=1024, embedding_size=64, hidden_size=width, num_hidden_layers=layers)
        failed = trial == 5
        trials.append(
            {
                "trial": trial,
                "status": "failed" if failed else "completed",
                "generator": "sobol" if trial < 8 else "qnehvi",
                "encoder": to_dict(encoder),
                "parameters": layers * width * width * 12,
                "accuracy": None if failed else 20 + 4 * math.log(layers * width) + generator.gauss(0, 0.8),
                "accuracy_stderr": None if failed else 0.6,
                "latency_s": None if failed else layers * width * 4e-6,
                "on_front": False,
                "hypervolume": 0.6 * (1 - 0.85 ** (trial + 1)),
                "seconds": 3.5,
            }
        )
    done = [t for t in trials if t["status"] == "completed"]
    for t in done:
        t["on_front"] = not any(
            (o["latency_s"] <= t["latency_s"] and o["accuracy"] > t["accuracy"])
            or (o["latency_s"] < t["latency_s"] and o["accuracy"] >= t["accuracy"])
            for o in done
        )
    return {
        "schema_version": 1,
        "track": "micro",
        "algorithm": "ax",
        "objectives": {
            "accuracy": {"unit": "percent", "direction": "maximize", "threshold": 20.0},
            "latency": {
                "unit": "s",
                "direction": "minimize",
                "threshold": 0.02,
                "method": "roofline",
                "chip": "cpu_2core",
            },
        },
        "trials": trials,
        "search_fields": ["num_hidden_layers", "hidden_size"],
    }


def _chromium() -> str | None:
    names = ("/usr/bin/chromium", "chromium", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
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
        [_record(*system) for system in SYSTEMS], out, title="AutoDistill-Bench leaderboard", history=_history()
    )


class _Tab:
    """One page of the browser and everything that went wrong in it."""

    def __init__(self, browser: Any, site: Path, **options: Any) -> None:
        self.address = site.as_uri()
        self.problems: list[str] = []
        self.context = browser.new_context(offline=True, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(5000)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", self._on_dialog)
        self.page.on("request", self._on_request)
        self.page.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error('policy ' + e.violatedDirective))"
        )

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def _on_dialog(self, dialog: Any) -> None:
        self.problems.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.problems.append(f"request {request.url}")

    def open(self, fragment: str = "") -> Any:
        self.page.goto("about:blank")
        self.page.goto(self.address + fragment)
        return self.page

    def column(self, key: str) -> list[str]:
        heads = self.page.eval_on_selector_all("#board thead th", "nodes => nodes.map(n => n.dataset.key)")
        return self.page.eval_on_selector_all(
            "#board tbody tr", f"rows => rows.map(r => r.children[{heads.index(key)}].firstChild.textContent)"
        )


@pytest.fixture(scope="session")
def shared_tab(browser: Any, site: Path) -> Iterator[_Tab]:
    tab = _Tab(browser, site, viewport={"width": 1280, "height": 900})
    yield tab
    tab.context.close()


@pytest.fixture
def tab(shared_tab: _Tab) -> Iterator[_Tab]:
    # The page keeps its whole state in the address, so loading it anew is a fresh start.
    shared_tab.problems.clear()
    shared_tab.page.emulate_media(color_scheme="light")
    shared_tab.page.set_viewport_size({"width": 1280, "height": 900})
    yield shared_tab
    assert shared_tab.problems == []


def _sort_by(page: Any, key: str) -> str:
    page.click(f"#board th[data-key='{key}'] button")
    return page.get_attribute(f"#board th[data-key='{key}']", "aria-sort")


def test_the_page_shows_every_system_as_text(tab: _Tab) -> None:
    page = tab.open()
    assert page.locator("#board tbody tr").count() == len(SYSTEMS)
    assert page.locator("main img").count() == 0
    titles = page.eval_on_selector_all("#board bdi", "nodes => nodes.map(n => n.textContent)")
    assert printable(HOSTILE) in titles
    assert "not comparable with published GLUE" in page.inner_text("header")
    assert page.locator("#plot .point").count() == len(SYSTEMS)
    assert "MRPC, SST-2" in page.inner_text("header"), "one system lacks SQuAD, so the mean leaves it out"


def test_a_click_on_a_header_sorts_and_gaps_stay_last(tab: _Tab) -> None:
    page = tab.open()
    assert _sort_by(page, "latency") == "ascending"
    values = [float(text) for text in tab.column("latency")]
    assert values == sorted(values)
    assert _sort_by(page, "masked_lm_accuracy") == "descending"
    falling = tab.column("masked_lm_accuracy")
    assert _sort_by(page, "masked_lm_accuracy") == "ascending"
    rising = tab.column("masked_lm_accuracy")
    assert falling[-1] == rising[-1] == "–"
    assert falling[:-1] == rising[-2::-1]
    assert page.get_attribute("#board th[data-key='latency']", "aria-sort") == "none"
    assert page.evaluate("document.activeElement.closest('th').dataset.key") == "masked_lm_accuracy"


def test_search_and_filters_narrow_the_table(tab: _Tab) -> None:
    page = tab.open()
    page.type("#search", "LAYERS=12 cher")
    assert page.inner_text("#count") == "3 of 7 systems", "the found ones have a teacher too"
    page.type("#search", " ib-")
    assert page.inner_text("#board bdi") == "IB-BERT teacher" and page.inner_text("#count") == "1 of 7 systems"
    page.fill("#search", "nothing like this")
    assert page.inner_text("#board tbody") == "No system matches."
    page.fill("#search", "")
    page.uncheck("input[data-kind='baseline']")
    assert page.locator("#board tr.kind-baseline").count() == 0
    page.check("#front-only")
    assert set(page.locator("#board tbody bdi").all_text_contents()) == {"Found 12", "Found 31"}
    page.check("input[data-kind='baseline']")
    page.uncheck("#front-only")
    page.check("#complete-only")
    kept = page.locator("#board tbody bdi").all_text_contents()
    assert "TinyBERT (micro)" not in kept and "Untrained control" not in kept and len(kept) == len(SYSTEMS) - 2


def test_columns_come_and_go(tab: _Tab) -> None:
    page = tab.open()
    page.click("#columns summary")
    page.uncheck("input[data-column='flops']")
    page.check("input[data-column='hidden_size']")
    keys = page.eval_on_selector_all("#board thead th", "nodes => nodes.map(n => n.dataset.key)")
    assert "flops" not in keys and "hidden_size" in keys
    assert tab.column("hidden_size")
    page.click("h1")
    assert not page.evaluate("document.getElementById('columns').open")


def test_details_open_and_close_by_keyboard(tab: _Tab) -> None:
    page = tab.open()
    page.focus("#board tbody tr[data-id='micro.found_31'] button")
    page.keyboard.press("Enter")
    panel = page.locator("#details")
    assert panel.is_visible() and page.inner_text("#details-title") == "Found 31"
    text = panel.inner_text()
    for expected in ("glue_mrpc_v1", "num_hidden_layers", "run_benchmark.py", "p99", "0123456789abcdef", "microworld"):
        assert expected in text or expected in panel.text_content()
    assert panel.locator(".histogram rect").count() > 20
    page.keyboard.press("Escape")
    assert panel.is_hidden()
    assert page.evaluate("document.activeElement.closest('tr').dataset.id") == "micro.found_31"


def test_a_point_of_the_plot_has_a_tooltip_and_opens_details(tab: _Tab) -> None:
    page = tab.open()
    page.focus("#plot .point[data-id='micro.mobilebert']")
    assert "MobileBERT (micro)" in page.inner_text("#tooltip")
    page.keyboard.press("Enter")
    assert page.inner_text("#details-title") == "MobileBERT (micro)"
    page.click("#details .close")
    page.hover("#plot .point[data-id='micro.found_12'] .hit")
    assert "on the front" in page.inner_text("#tooltip")


def test_two_systems_are_compared(tab: _Tab) -> None:
    page = tab.open("#open=micro.found_31")
    page.select_option("#compare", "micro.mobilebert")
    row = page.locator("#comparison tr", has_text="Latency")
    assert row.locator("td").all_text_contents() == ["4.00 ms", "5.60 ms", "×0.714", ""]
    assert "overlap" in page.locator("#comparison tr", has_text="SST-2").inner_text()
    page.reload()
    assert page.locator("#comparison tr").count() > 5
    page.keyboard.press("Escape")
    assert page.evaluate("location.hash") == ""


def test_axes_of_the_plot_switch(tab: _Tab) -> None:
    page = tab.open()
    before = page.get_attribute("#plot path.front", "d")
    page.select_option("#axis", "speedup")
    assert page.get_attribute("#plot path.front", "d") != before
    assert "Speed-up against bert_reference" in page.text_content("#plot")
    page.select_option("#quality", "glue_sst2_v1.validation.accuracy")
    assert page.locator("#plot .point").count() == len(SYSTEMS)
    page.select_option("#quality", "masked_lm_accuracy")
    assert "Masked-LM accuracy (%)" in page.text_content("#plot")
    page.select_option("#group", "measured.cpu_2core.b1.l32.float32")
    assert page.locator("#plot .point").count() == 2


def test_a_reload_shows_the_same_view(tab: _Tab) -> None:
    page = tab.open()
    page.select_option("#axis", "speedup")
    page.fill("#search", "found")
    _sort_by(page, "parameters")
    page.click("#columns summary")
    page.uncheck("input[data-column='kind']")
    page.focus("#board tbody tr button")
    page.keyboard.press("Enter")
    look = "[document.querySelector('#board').innerText, document.querySelector('#plot').innerHTML,"
    look += " document.querySelector('#details').innerText, location.hash]"
    seen = page.evaluate(look)
    page.reload()
    assert page.evaluate(look) == seen
    assert page.input_value("#search") == "found" and page.input_value("#axis") == "speedup"
    page.evaluate("location.hash = ''")
    page.wait_for_function("document.querySelectorAll('#board tbody tr').length === 7")
    assert page.locator("#details").is_hidden()


@pytest.mark.parametrize(
    "fragment", ["#systems", "#y=__proto__&x=toString&group=x&open=no&sort=-no&cols=constructor,,"]
)
def test_a_nonsense_address_is_survived(tab: _Tab, fragment: str) -> None:
    page = tab.open(fragment)
    assert page.locator("#board tbody tr").count() == len(SYSTEMS)
    assert page.locator("#plot .point").count() > 0


def test_the_view_downloads_as_csv_and_json(tab: _Tab, tmp_path: Path) -> None:
    page = tab.open("#sort=-mean&q=bert")
    saved = {}
    for kind in ("csv", "json"):
        page.click(".menu:has(#download-csv) summary") if not page.is_visible("#download-csv") else None
        with page.expect_download() as download:
            page.click(f"#download-{kind}")
        saved[kind] = tmp_path / download.value.suggested_filename
        download.value.save_as(saved[kind])
    with saved["csv"].open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    values = json.loads(saved["json"].read_text(encoding="utf-8"))
    assert [row["id"] for row in rows] == [value["id"] for value in values]
    assert len(rows) == page.locator("#board tbody tr").count()
    assert float(rows[0]["mean"]) == values[0]["mean"] > float(rows[1]["mean"])


def test_the_search_history_is_drawn_and_sortable(tab: _Tab) -> None:
    page = tab.open()
    assert page.locator("#history-scatter .point").count() == 23
    assert page.locator("#history-volume path.volume").count() == 1
    assert "24 trials, 1 failed" in page.inner_text("#history-count")
    page.click("#trials th[data-key='accuracy'] button")
    cell = "[...row.children].find(cell => cell.querySelector('small'))"
    texts = page.eval_on_selector_all("#trials tbody tr", f"rows => rows.map(row => {cell}?.firstChild.textContent)")
    assert texts[-1] is None
    assert [float(t) for t in texts[:-1]] == sorted((float(t) for t in texts[:-1]), reverse=True)


def test_no_width_scrolls_sideways(tab: _Tab) -> None:
    page = tab.open()
    for width in (1280, 768, 380):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function("document.querySelector('#plot svg').clientWidth <= document.body.clientWidth")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate("document.querySelector('#board tbody button').click()")
        panel = page.locator("#details").bounding_box()
        assert panel["x"] >= 0 and panel["x"] + panel["width"] <= width
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.keyboard.press("Escape")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_both_schemes(tab: _Tab, scheme: str) -> None:
    page = tab.open()
    page.emulate_media(color_scheme=scheme)
    ratios = page.evaluate(
        """() => {
          const probe = document.createElement('i');
          document.body.append(probe);
          const light = (name) => {
            probe.style.color = `var(${name})`;
            const [r, g, b] = getComputedStyle(probe).color.match(/\\d+/g).map(v => v / 255)
              .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          const names = ['ink', 'muted', 'accent', 'found', 'baseline', 'teacher', 'control', 'reported'];
          const pairs = names.flatMap(n => ['--paper', '--surface'].map(s => ['--' + n, s]));
          return pairs.map(([n, s]) => [n + s, contrast(light(n), light(s))]);
        }"""
    )
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert all(ratio >= 4.5 for _, ratio in ratios), ratios
    assert (dark != "rgb(255, 255, 255)") == (scheme == "dark")
