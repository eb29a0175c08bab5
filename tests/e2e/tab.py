"""A page of the browser that notices everything that goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Tab:
    """One page of the browser and everything that went wrong in it."""

    def __init__(self, browser: Any, site: Path, **options: Any) -> None:
        self.address = site.as_uri()
        self.problems: list[str] = []
        self.context = browser.new_context(offline=True, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
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


def sort_by(page: Any, key: str) -> str:
    page.click(f"#board th[data-key='{key}'] button")
    return page.get_attribute(f"#board th[data-key='{key}']", "aria-sort")
