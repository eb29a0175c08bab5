"""The leaderboard without a browser: reading, exports, the page's text and the command line."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.records.csv_text import csv_text
from benchmark.records.history import parse_history
from benchmark.records.masked_lm import MaskedLMScores
from benchmark.records.record import Record, RecordError, parse, write
from leaderboard import rank
from leaderboard.__main__ import main
from leaderboard.board import board_data
from leaderboard.build import build
from leaderboard.columns import COLUMNS
from leaderboard.estimates import estimates
from leaderboard.export import island_json, printable, records_csv
from leaderboard.load import load_records
from leaderboard.scripts import join
from tests.helpers.board_records import HOSTILE, make_block, make_history, make_record, make_task

# --- reading ---


def test_records_are_read_from_a_run_or_from_its_results_folder(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(tmp_path / "results" / f"z_{name}.json", make_record(name))
    (tmp_path / "results" / ".half.json").write_text("{")
    assert [r.id for r in load_records(tmp_path)] == ["a", "b"]
    assert load_records(tmp_path / "results") == load_records(tmp_path)
    write(tmp_path / "other" / "c.json", make_record("0"))
    assert [r.id for r in load_records(tmp_path, tmp_path / "other")] == ["0", "a", "b"]


def test_bad_folders_are_refused_in_one_line(tmp_path: Path) -> None:
    def message(directory: Path) -> str:
        with pytest.raises(RecordError) as error:
            load_records(directory)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "not a folder" in message(tmp_path / "missing")
    assert "no record files" in message(tmp_path)
    write(tmp_path / "one.json", make_record("same"))
    write(tmp_path / "two.json", make_record("same"))
    assert "'same': already used by" in message(tmp_path)
    (tmp_path / "one.json").write_text('{"schema_version": 1, "id": NaN}')
    assert "NaN is not a finite number" in message(tmp_path)


def test_a_latency_that_no_chip_could_reach_is_refused(tmp_path: Path) -> None:
    def on_v4i(latency_s: float) -> None:
        block = make_block(latency_s, chip="tpu_v4i", method="compiled", dtype="bfloat16")
        write(tmp_path / "claim.json", make_record("claim", latency=(block,)))

    # MobileBERT's matrix products at 64 tokens, 2.6 GFLOP, take 19 microseconds at 138 TFLOP/s.
    on_v4i(25e-6)
    assert [r.id for r in load_records(tmp_path)] == ["claim"]
    on_v4i(15e-6)
    with pytest.raises(
        RecordError, match=r"claim\.json: latency_s = 1\.5e-05 \(compiled, tpu_v4i.*at least 1\.\d+e-05"
    ):
        load_records(tmp_path)


# --- exports ---


def test_csv_is_rfc_4180_and_free_of_formulas() -> None:
    cells: list[str | int | float | None] = [
        "=1+1",
        "+a",
        "-b",
        "@c",
        "\td",
        "\re",
        " =f",
        "＝g",
        'say "x", twice',
        "two\nlines",
        -1.5,
        None,
        "ok",
    ]
    text = csv_text(["=head"], [cells])
    head, row = list(csv.reader(io.StringIO(text, newline="")))
    assert head == ["'=head"]
    assert row[:8] == ["'" + str(cell) for cell in cells[:8]]
    assert row[8:] == ['say "x", twice', "two\nlines", "-1.5", "", "ok"]
    assert text.endswith("\r\n")


def test_the_csv_of_records_has_one_line_each() -> None:
    board = [
        make_record("a", make_task(70), latency=(make_block(speedup=2.0, reference="bert"),), title="=cmd()"),
        make_record("b"),
    ]
    rows = list(csv.DictReader(io.StringIO(records_csv(board), newline="")))
    assert [row["id"] for row in rows] == ["a", "b"]
    assert rows[0]["title"] == "'=cmd()"
    score = "glue_sst2_v1.validation.accuracy"
    assert [float(rows[0][score + end]) for end in (".low", ".high")] == [
        *(estimates(board)["a"][score].interval or ())
    ]
    assert rows[0][f"{score}.run_low"] == ""
    assert float(rows[0]["measured.two_cores.b1.l64.float32.speedup"]) == 2.0
    assert rows[1]["mean"] == ""


@given(st.text())
def test_island_json_cannot_end_its_element(text: str) -> None:
    written = island_json({"text": text})
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == {"text": text}


def test_printable_shows_what_would_hide() -> None:
    assert printable("a\u202eb\x00c\ud800d") == "a\ufffdb\ufffdc\ufffdd"
    assert printable("e\u0301") == "é"


# --- the page ---


def _board() -> list[Record]:
    return [
        make_record("a", make_task(70), latency=(make_block(samples_ns=[[10, 11]]),), title=HOSTILE),
        make_record("b", make_task(60), latency=(make_block(1e-3),)),
        make_record("c", make_task(90)),
    ]


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    build(_board(), tmp_path / "x", title="Board", history=make_history())
    build(_board()[::-1], tmp_path / "y", title="Board", history=make_history())
    for name in ("index.html", "records.csv", "records.json"):
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()
    values = json.loads((tmp_path / "x" / "records.json").read_text())
    assert [parse(json.dumps(value)) for value in values] == _board()


def test_the_page_is_one_file_under_a_strict_policy(tmp_path: Path) -> None:
    text = build(_board(), tmp_path, title=HOSTILE, history=make_history()).read_text(encoding="utf-8")
    assert "<script>alert" not in text and "\u2028" not in text
    assert not re.search(r"(?:src|href)=[\"'](?!data:,|#systems|records\.(?:csv|json)|search/\w+\.csv)", text)
    assert "http://www.w3.org" in text and not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy and policy.group(1).startswith("default-src &#39;none&#39;; ") and "unsafe" not in policy.group(1)
    for tag in ("script", "style"):
        (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest}&#39;;" in policy.group(1)
    island = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert island
    data = json.loads(island.group(1))
    assert data["rows"][0]["system"]["title"] == printable(HOSTILE)
    assert data["history"]["trials"][0]["generator"] == HOSTILE


def test_scripts_make_elements_only_from_text() -> None:
    markup = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function")
    for path in sorted((Path(rank.__file__).parent / "static").glob("*.js")):
        text = path.read_text(encoding="utf-8")
        assert not markup.search(text), path
        assert len(text.splitlines()) <= 350, path


def test_scripts_are_joined_in_the_order_of_their_imports(tmp_path: Path) -> None:
    (tmp_path / "main.js").write_text('import { a } from "./x.js";\nimport {\n  b, c,\n} from "./y.js";\n\na(b, c);\n')
    (tmp_path / "x.js").write_text('import { b } from "./y.js";\n\nexport function a() {}\n\nconst own = b;\n')
    (tmp_path / "y.js").write_text("export const b = 1;\nexport const c = 2;\n")
    lines = [line for line in join(tmp_path / "main.js").splitlines() if line]
    script = ["const b = 1;", "const c = 2;", "function a() {}", "const own = b;", "a(b, c);"]
    assert lines == ["(() => {", '"use strict";', *script, "})();"]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ("export const b = 1;\n", "main.js: x.js exports no 'a'"),
        ("export const a = 1;\nexport const b = 1;\n", "x.js: 'b' is exported and imported nowhere"),
        ("export const a = 1;\nexport default a;\n", "x.js: 'export default a;': expected import"),
        ('import * as y from "./main.js";\nexport const a = 1;\n', "x.js: 'import * as y from"),
        ('import { z } from "./main.js";\nexport const a = 1;\n', "scripts import in a cycle: main -> x -> main"),
        ('import { z } from "./y.js";\nexport const a = 1;\n', "x: no script 'y.js'"),
        ("export const a = 1;\nconst own = 2;\n", "main.js: 'own' is defined in x.js too"),
    ],
)
def test_scripts_that_do_not_fit_together_are_refused(tmp_path: Path, x: str, message: str) -> None:
    (tmp_path / "main.js").write_text('import { a } from "./x.js";\n\nconst own = a;\n')
    (tmp_path / "x.js").write_text(x)
    with pytest.raises(ValueError, match=re.escape(message)):
        join(tmp_path / "main.js")


def test_every_column_finds_its_value() -> None:
    records = [make_record("a", make_task(70), latency=(make_block(1e-3),))]
    (row,) = board_data(records, "Board", None)["rows"]
    (block,) = row["latency"].values()
    formats = (Path(rank.__file__).parent / "static" / "dom.js").read_text(encoding="utf-8")
    assert len({column.key for column in COLUMNS}) == len(COLUMNS)
    for column in COLUMNS:
        assert f"\n  {column.format}: " in formats or column.format == "text", column
        on_page, in_csv = (block, records[0].latency[0]) if column.family == "latency" else (row, records[0])
        assert column.value(on_page) == column.value(in_csv), column


def test_masked_lm_scores_are_columns() -> None:
    record = make_record("a", make_task(70))
    assert record.training is not None
    scores = MaskedLMScores(documents=9, teacher_agreement=61.5, teacher_kl=0.8, pseudo_perplexity=14.25)
    scored = record.model_copy(update={"training": record.training.model_copy(update={"masked_lm": scores})})
    lines = list(csv.DictReader(io.StringIO(records_csv([scored, make_record("b", make_task(70))]), newline="")))
    names = ("teacher_agreement", "teacher_kl", "pseudo_perplexity")
    assert [[line[name] for name in names] for line in lines] == [["61.5", "0.8", "14.25"], ["", "", ""]]


def test_the_page_names_the_score_that_a_search_maximised(tmp_path: Path) -> None:
    history = make_history(teacher_agreement=40.0)
    captions = {
        "teacher_agreement": "Every trial: agreement with the teacher against latency",
        "accuracy": "Every trial: masked-LM accuracy against latency",
    }
    objective = history["objectives"].pop("accuracy")
    for name in captions:
        own = {**history, "objectives": {name: objective, **history["objectives"]}}
        text = build(_board(), tmp_path / name, title="Board", history=own).read_text(encoding="utf-8")
        assert [caption for caption in captions.values() if caption in text] == [captions[name]]


def test_the_history_is_checked() -> None:
    assert parse_history(make_history(status="failed", accuracy=None, latency_s=None, on_front=False)).trials
    assert parse_history(make_history(status="stopped", steps=20, on_front=False)).trials[0].steps == 20
    for changes, message in (
        ({"accuracy": None}, "needs accuracy"),
        ({"hypervolume": math.nan}, "hypervolume"),
        ({"latency_s": 0.0}, "latency_s"),
        ({"status": "failed"}, "a failed trial cannot be on the front"),
        ({"status": "stopped"}, "a stopped trial cannot be on the front"),
        ({"encoder": {"hidden_size": 0}}, "EncoderConfig.hidden_size"),
        ({"encoder": {}}, "lacks the search field"),
        ({"surprise": 1}, "surprise"),
    ):
        with pytest.raises(RecordError, match=message):
            parse_history(make_history(**changes))


# --- the command line ---


def test_the_command_builds_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for record in _board():
        write(tmp_path / "results" / f"{record.id}.json", record)
    (tmp_path / "history.json").write_text(json.dumps(make_history()))
    arguments = ["build", f"--results={tmp_path}", f"--out={tmp_path / 'site'}"]
    arguments.append(f"--history={tmp_path / 'history.json'}")
    assert main(arguments) == 0
    assert (tmp_path / "site" / "index.html").exists()
    capsys.readouterr()
    write(tmp_path / "more" / "d.json", make_record("d", make_task(70)))
    both = [f"--results={tmp_path}", f"--results={tmp_path / 'more'}"]
    for folders in (both, ["--results", str(tmp_path), str(tmp_path / "more")]):
        assert main(["build", *folders, f"--out={tmp_path / 'both'}"]) == 0
        assert capsys.readouterr().out.startswith("4 records -> ")
    (tmp_path / "history.json").write_text('{"schema_version": 1, "schema_version": 1}')
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["build", f"--results={tmp_path / 'no'}", f"--out={tmp_path}"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert main(["build"]) == 2
    assert capsys.readouterr().err == "error: the following arguments are required: --results, --out\n"
    (tmp_path / "file").touch()
    assert main(["build", f"--results={tmp_path}", f"--out={tmp_path / 'file'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --out={tmp_path / 'file'}: expected a folder") and error.count("\n") == 1


def test_help_loads_nothing_heavy() -> None:
    root = Path(rank.__file__).parents[1]
    code = "import sys; from leaderboard.__main__ import _parser; _parser().format_help(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert not {"pydantic", "jinja2", "numpy", "pandas"} & set(done.stdout.split())
