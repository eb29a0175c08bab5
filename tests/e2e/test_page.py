"""The leaderboard page in a real browser: offline, without errors, with the promised behaviour."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.records.contamination import Contamination
from benchmark.records.history import parse_history
from benchmark.records.history_tables import tables
from benchmark.records.task_recipe import DivergedSeed, TaskRecipe
from benchmark.records.task_score import MetricScore
from benchmark.records.training_file import TrainingFile
from leaderboard.build import build
from leaderboard.export import printable
from tests.e2e.page_data import HOSTILE, SYSTEMS, make_history, make_record
from tests.e2e.tab import Tab, sort_by
from tests.helpers.board_records import make_block, make_task
from tests.helpers.own_tasks import own_definition


def test_the_page_shows_every_system_as_text(tab: Tab) -> None:
    page = tab.open()
    assert page.locator("#board tbody tr").count() == len(SYSTEMS)
    assert page.locator("main img").count() == 0
    titles = page.eval_on_selector_all("#board bdi", "nodes => nodes.map(n => n.textContent)")
    assert printable(HOSTILE) in titles
    assert "not comparable with published GLUE" in page.inner_text("header")
    assert page.locator("#plot .point").count() == len(SYSTEMS)
    assert "MRPC, SST-2" in page.inner_text("header"), "one system lacks SQuAD, so the mean leaves it out"


def test_a_click_on_a_header_sorts_and_gaps_stay_last(tab: Tab) -> None:
    page = tab.open()
    assert sort_by(page, "latency") == "ascending"
    values = [float(text) for text in tab.column("latency")]
    assert values == sorted(values)
    assert sort_by(page, "masked_lm_accuracy") == "descending"
    falling = tab.column("masked_lm_accuracy")
    assert sort_by(page, "masked_lm_accuracy") == "ascending"
    rising = tab.column("masked_lm_accuracy")
    assert falling[-1] == rising[-1] == "–"
    assert falling[:-1] == rising[-2::-1]
    assert page.get_attribute("#board th[data-key='latency']", "aria-sort") == "none"
    assert page.evaluate("document.activeElement.closest('th').dataset.key") == "masked_lm_accuracy"


def test_search_and_filters_narrow_the_table(tab: Tab) -> None:
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


def test_columns_come_and_go(tab: Tab) -> None:
    page = tab.open()
    page.click("#columns summary")
    page.uncheck("input[data-column='flops']")
    page.check("input[data-column='hidden_size']")
    keys = page.eval_on_selector_all("#board thead th", "nodes => nodes.map(n => n.dataset.key)")
    assert "flops" not in keys and "hidden_size" in keys
    assert tab.column("hidden_size")
    page.click("h1")
    assert not page.evaluate("document.getElementById('columns').open")


def test_details_open_and_close_by_keyboard(tab: Tab) -> None:
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


def test_a_point_of_the_plot_has_a_tooltip_and_opens_details(tab: Tab) -> None:
    page = tab.open()
    page.focus("#plot .point[data-id='micro.mobilebert']")
    assert "MobileBERT (micro)" in page.inner_text("#tooltip")
    page.keyboard.press("Enter")
    assert page.inner_text("#details-title") == "MobileBERT (micro)"
    page.click("#details .close")
    page.hover("#plot .point[data-id='micro.found_12'] .hit")
    assert "on the front" in page.inner_text("#tooltip")


def test_two_systems_are_compared(tab: Tab) -> None:
    page = tab.open("#open=micro.found_31")
    page.select_option("#compare", "micro.mobilebert")
    row = page.locator("#comparison tr", has_text="Latency")
    assert row.locator("td").all_text_contents() == ["4.00 ms", "5.60 ms", "×0.714", ""]
    assert "not told apart, p = " in page.locator("#comparison tr", has_text="SST-2").inner_text()
    page.reload()
    assert page.locator("#comparison tr").count() > 5
    page.keyboard.press("Escape")
    assert page.evaluate("location.hash") == ""


def test_details_say_how_a_latency_was_measured(tab: Tab) -> None:
    page = tab.open("#open=micro.mobilebert")
    (shown,) = page.locator("#details .latency").all_inner_texts()
    assert "batch 1, length 64, float32, xla, 2 threads, protocol 3" in shown
    assert "p50 5.66 ms, p90 6.16 ms, p99 n/a" in shown
    assert "280 mJ" in shown


def test_axes_of_the_plot_switch(tab: Tab) -> None:
    page = tab.open()
    before = page.get_attribute("#plot path.front", "d")
    page.select_option("#axis", "speedup")
    assert page.get_attribute("#plot path.front", "d") != before
    assert "Speed-up against bert_reference" in page.text_content("#plot")
    page.select_option("#quality", "glue_sst2_v1.validation.accuracy")
    assert page.locator("#plot .point").count() == len(SYSTEMS)
    page.select_option("#quality", "masked_lm_accuracy")
    assert "Masked-LM accuracy (%)" in page.text_content("#plot")
    page.select_option("#group", "measured.two_cores.b1.l32.float32.xla.t2.p3")
    assert page.locator("#plot .point").count() == 2


def test_a_reload_shows_the_same_view(tab: Tab) -> None:
    page = tab.open()
    page.select_option("#axis", "speedup")
    page.fill("#search", "found")
    sort_by(page, "parameters")
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
def test_a_nonsense_address_is_survived(tab: Tab, fragment: str) -> None:
    page = tab.open(fragment)
    assert page.locator("#board tbody tr").count() == len(SYSTEMS)
    assert page.locator("#plot .point").count() > 0


def test_the_view_downloads_as_csv_and_json(tab: Tab, tmp_path: Path) -> None:
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


def test_the_search_history_is_drawn_and_sortable(tab: Tab) -> None:
    page = tab.open()
    assert page.locator("#history-scatter .point").count() == 23
    assert page.locator("#history-volume path.volume").count() == 1
    assert "24 trials, 1 failed" in page.inner_text("#history-count")
    page.click("#trials th[data-key='accuracy'] button")
    cell = "[...row.children].find(cell => cell.querySelector('small'))"
    texts = page.eval_on_selector_all("#trials tbody tr", f"rows => rows.map(row => {cell}?.firstChild.textContent)")
    assert texts[-1] is None
    assert [float(t) for t in texts[:-1]] == sorted((float(t) for t in texts[:-1]), reverse=True)


def test_the_analysis_of_the_search_is_drawn(tab: Tab) -> None:
    page = tab.open()
    assert page.locator("#history-importance .point").count() == 2
    names = page.locator("#history-importance .axis-label").all_text_contents()
    assert names[-2:] == ["num_hidden_layers", "hidden_size"], "the field that matters most comes first"
    widths = page.eval_on_selector_all("#history-importance .bar", "bars => bars.map(bar => bar.width.baseVal.value)")
    assert [width / widths[0] for width in widths] == pytest.approx([1, 5 / 7, 4 / 7, 3 / 7])
    page.focus("#history-importance .point")
    assert "0.700 of the variance" in page.inner_text("#tooltip")
    assert page.locator("#history-predictions .point").count() == 23
    page.focus("#history-predictions .point")
    assert "Predicted" in page.inner_text("#tooltip") and "Observed" in page.inner_text("#tooltip")
    page.select_option("#prediction-model", "ax")
    assert page.locator("#history-predictions .point").count() == 22
    page.reload()
    assert page.input_value("#prediction-model") == "ax" and "model=ax" in page.evaluate("location.hash")
    assert "between 0.550 and 0.620" in page.inner_text("#analysis-hint")
    page.click("#trials th[data-key='front_probability'] button")
    heads = page.eval_on_selector_all("#trials thead th", "nodes => nodes.map(node => node.dataset.key)")
    place = heads.index("front_probability")
    texts = page.eval_on_selector_all("#trials tbody tr", f"rows => rows.map(row => row.cells[{place}].textContent)")
    assert texts[0] == "90\u00a0%" and texts[-2] == "5.0\u00a0%" and texts[-1] == "–"


def test_a_search_without_analysis_is_shown_as_before(browser: Any, tmp_path: Path) -> None:
    history = make_history()
    analysis = history.pop("analysis")
    old = build([make_record(*SYSTEMS[0])], tmp_path / "old", title="Old", history=history)
    reason = "Importance and predictions need 5 completed trials, not 3."
    few = analysis | {"importance": None, "predictions": [], "notes": [reason]}
    new = build([make_record(*SYSTEMS[0])], tmp_path / "new", title="New", history=history | {"analysis": few})
    for site in (old, new):
        tab = Tab(browser, site)
        page = tab.open()
        assert page.locator("#history-scatter .point").count() == 23
        assert page.locator("#analysis-hint").count() == int(site == new)
        if site == new:
            assert reason in page.inner_text("#analysis-hint")
            assert page.locator("#prediction-model").is_hidden()
            assert page.inner_text("#history-importance") == page.inner_text("#history-predictions") == "Not known."
        tab.context.close()
        assert tab.problems == []


def test_the_tables_of_the_search_lie_beside_the_page(tab: Tab, tmp_path: Path) -> None:
    page = tab.open()
    expected = tables(parse_history(make_history()).model_dump(mode="json"))
    links = page.eval_on_selector_all("#search-files a", "links => links.map(link => link.getAttribute('href'))")
    assert links == [f"search/{name}" for name in expected]
    page.click("#search-files summary")
    for name, text in expected.items():
        with page.expect_download() as download:
            page.click(f"#search-files a[href$='/{name}']")
        download.value.save_as(tmp_path / name)
        assert (tmp_path / name).read_bytes().decode() == text


def test_no_width_scrolls_sideways(tab: Tab) -> None:
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
def test_text_has_contrast_in_both_schemes(tab: Tab, scheme: str) -> None:
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


def test_each_metric_stands_under_its_own_task(browser: Any, tmp_path: Path) -> None:
    # Metrics come sorted by name from a file: the primary one of MRPC, F1, is not its first.
    both = {name: MetricScore(value=value, per_seed=[value]) for name, value in (("accuracy", 71.0), ("f1", 82.0))}
    cola, mrpc = make_task(33.0, "glue_cola_v2"), make_task(0.0, "glue_mrpc_v1", metrics=both, primary_metric="f1")
    record = make_record(*SYSTEMS[0]).model_copy(update={"tasks": [cola, mrpc]})
    tab = Tab(browser, build([record], tmp_path, title="Two metrics", history=None))
    page = tab.open(f"#open={record.id}")
    bodies = page.locator("#details table.small").first.locator("tbody")
    assert [body.inner_text().split() for body in bodies.all()] == [
        ["glue_cola_v2", "accuracy", "33.0", "31.0–35.1", "–", "33.0"],
        ["glue_mrpc_v1", "f1", "82.0", "–", "–", "82.0", "accuracy", "71.0", "–", "–", "71.0"],
    ]
    assert bodies.nth(1).locator("th").get_attribute("rowspan") == "2"
    assert bodies.nth(1).locator("tr.primary").inner_text().split()[1] == "f1"
    tab.context.close()
    assert tab.problems == []


def test_fine_tunings_say_where_they_started_and_which_seeds_diverged(browser: Any, tmp_path: Path) -> None:
    choice = {"learning_rates": [2e-05, 5e-05], "scores": [70.0, 61.25], "metric": "accuracy", "fraction": 0.1}
    recipe = {"epochs": 3.0, "batch_size": 32, "learning_rate": 2e-05, "start": "glue_mnli_matched_v1"}
    score = make_task(
        66.0,
        "glue_rte_v1",
        metrics={"accuracy": MetricScore(value=66.0, per_seed=[52.7, 66.0, 67.0])},
        seeds=[3, 4, 5],
        recipe=TaskRecipe.model_validate(recipe | {"choice": choice | {"num_examples": 249, "seed": 3}}),
        diverged=[DivergedSeed(seed=3, reason="not_learned")],
    )
    record = make_record(*SYSTEMS[0]).model_copy(update={"tasks": [score]})
    tab = Tab(browser, build([record], tmp_path, title="Recipes", history=None))
    page = tab.open(f"#open={record.id}")
    row = page.locator("#details table.small").first.locator("tbody").inner_text()
    assert "glue_rte_v1 (started from glue_mnli_matched_v1)" in row and "52.7†  66.0  67.0" in row
    assert "RTE (started from MNLI-m)" in page.inner_text("#board thead")
    for text in (
        "3 epochs; batch 32; learning rate 0.00002; started from glue_mnli_matched_v1",
        "chosen by accuracy on 249 held-out training examples, seed 3 (0.00002: 70.0, 0.00005: 61.3)",
        "† seed 3 diverged: training loss at the end not below that of a constant prediction",
    ):
        assert text in page.text_content("#details"), text
    tab.context.close()
    assert tab.problems == []


def test_a_roofline_that_is_only_a_rank_is_called_one(browser: Any, tmp_path: Path) -> None:
    block = make_block(method="roofline", chip="gpu", details={"only_a_rank": True})
    record = make_record(*SYSTEMS[0]).model_copy(update={"latency": [block]})
    tab = Tab(browser, build([record], tmp_path, title="Ranks", history=None))
    page = tab.open(f"#open={record.id}")
    assert "roofline (a rank, not a time), gpu" in page.inner_text("#details .latency h4")
    assert "roofline (a rank, not a time), gpu" in page.inner_text("#group")
    tab.context.close()
    assert tab.problems == []


def test_a_board_of_two_runs_compares_speedups_first(browser: Any, tmp_path: Path) -> None:
    first, second = make_record(*SYSTEMS[0]), make_record(*SYSTEMS[2])
    assert second.provenance
    other = second.provenance.model_copy(update={"config_fingerprint": "12" * 32})
    system = second.system.model_copy(update={"title": first.system.title})
    records = [first, second.model_copy(update={"provenance": other, "system": system})]
    tab = Tab(browser, build(records, tmp_path, title="Two runs", history=None))
    page = tab.open()
    assert page.locator("#axis").input_value() == "speedup"
    assert "Speed-up against bert_reference" in page.text_content("#plot")
    assert "(run abababab)" in page.inner_text("#systems") and "(run 12121212)" in page.inner_text("#systems")
    assert "Latencies of" not in page.inner_text("#plot-hint")
    page.select_option("#axis", "latency")
    assert "Latencies of 2 runs, measured at different times" in page.inner_text("#plot-hint")
    tab.context.close()
    assert tab.problems == []


def test_a_search_by_ranks_is_called_one(browser: Any, tmp_path: Path) -> None:
    value = make_history()
    value["objectives"]["latency"] |= {"method": "roofline", "only_a_rank": True}
    parsed = parse_history(value).model_dump(mode="json")
    tab = Tab(browser, build([make_record(*SYSTEMS[0])], tmp_path, title="Ranks", history=parsed))
    page = tab.open()
    assert "Latency: roofline (a rank, not a time), " in page.inner_text("#history-hint")
    assert "Latency, a rank and not a time" in page.text_content("#history-scatter")
    assert "Latency (a rank)" in page.inner_text("#trials")
    tab.context.close()
    assert tab.problems == []


def test_an_own_task_is_described_with_the_scores(browser: Any, tmp_path: Path) -> None:
    record = make_record(*SYSTEMS[0])
    score = make_task(70.0, "stars_v1", definition=own_definition(title=HOSTILE))
    site = build([record.model_copy(update={"tasks": [*record.tasks, score]})], tmp_path, title="Own", history=None)
    tab = Tab(browser, site)
    page = tab.open(f"#open={record.id}")
    assert f"Own task stars_v1: {printable(HOSTILE)}" in page.text_content("#details")
    for text in (
        "text, stars",
        "1, 2, 3, 4, 5",
        "train 180, validation 20",
        "10.0 % of the training rows, seed 0",
        "stars.tsv",
    ):
        assert text in page.text_content("#details"), text
    tab.context.close()
    assert tab.problems == []


def test_the_data_of_a_task_are_described_with_the_scores(browser: Any, tmp_path: Path) -> None:
    record = make_record(*SYSTEMS[0])
    file = TrainingFile(name=HOSTILE, sha256="a" * 64, examples=9_999, official_examples=363_849)
    overlap = Contamination(
        method="equal_text_v1", examples=100, same_example=7, any_text=41, long_sentence=86, in_pretraining=None
    )
    score = make_task(70.0, "glue_qqp_v1", training_file=file, contamination=overlap)
    site = build([record.model_copy(update={"tasks": [*record.tasks, score]})], tmp_path, title="Data", history=None)
    tab = Tab(browser, site)
    page = tab.open(f"#open={record.id}")
    details = page.text_content("#details")
    for text in (
        "Data of glue_qqp_v1, trained on another file",
        f"{printable(HOSTILE)}: 9999 of 363849 examples",
        "7 of 100",
        "41 of 100",
        "not known; 86 have one",
    ):
        assert text in details, text
    assert "Data of glue_sst2_v1" not in details
    tab.context.close()
    assert tab.problems == []
