"""Rendering of the board: one self-contained page, and the records as CSV and JSON next to it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from benchmark.records.history import parse_history
from benchmark.records.history_tables import tables
from leaderboard.board import board_data
from leaderboard.export import island_json, records_csv, records_json
from leaderboard.scripts import join
from tasks.system.atomic_write import write_text

if TYPE_CHECKING:
    from benchmark.records.record import Record
    from leaderboard.pairing import Pairs

_HERE = Path(__file__).parent
# The scripts that pages start with.
ENTRIES = ("main.js", "published.js", "watch.js")


def _inline(text: str) -> tuple[Markup, str]:
    """Returns the content of a style or script element, with the hash that the page's policy allows."""
    if "</" in text:
        raise ValueError("a style sheet or script that stands inside the page must not contain '</'")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(text), f"'sha256-{digest}'"  # our own files, checked above


def render(data: Mapping[str, Any], template: str = "index.html", entry: str = "main.js") -> str:
    """Renders a page.

    Args:
        data: the result of `leaderboard.board.board_data`, or what another template shows.
        template: file name under `templates`.
        entry: file name of the page's script under `static`, one of `ENTRIES`.

    Returns:
        HTML that needs no other file and no network; its policy allows its style sheet and its script alone.
    """
    style, style_hash = _inline((_HERE / "static" / "page.css").read_text(encoding="utf-8"))
    script, script_hash = _inline(
        join(_HERE / "static" / entry, [_HERE / "static" / other for other in ENTRIES if other != entry])
    )
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {script_hash}",
            f"style-src {style_hash}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(
        data=data,
        policy=policy,
        style=style,
        script=script,
        island=Markup(island_json(data)),  # island_json leaves no character that HTML could read
    )


def build(
    records: Sequence[Record],
    out: Path,
    *,
    title: str,
    history: Mapping[str, Any] | None = None,
    watch: Mapping[str, Any] | None = None,
    pairs: Pairs | None = None,
) -> Path:
    """Writes the board of one track: `index.html`, `records.csv`, `records.json`, and the search's tables in `search`.

    Equal records give equal bytes, in any order.

    Args:
        records: the records of one track and version.
        out: folder to write to; it is created if missing.
        title: heading of the page.
        history: search history to show (docs/leaderboard.md gives the format), or None.
        watch: for a run that is not finished, which may have no record yet: as `board_data` has it.
        pairs: as `leaderboard.load.Loaded` has them.

    Returns:
        Path of the page.

    Raises:
        RecordError: the records cannot share a board, or the history does not follow its schema.
    """
    checked = parse_history(history).model_dump(mode="json") if history is not None else None
    data = board_data(records, title, checked, watch, pairs)
    records = sorted(records, key=lambda record: record.id)
    page = out / "index.html"
    if records:
        write_text(out / "records.csv", records_csv(records))
        write_text(out / "records.json", records_json(records))
    for name, text in tables(checked).items() if checked else ():
        write_text(out / "search" / name, text)
    write_text(page, render(data, entry="main.js" if watch is None else "watch.js"))
    return page
