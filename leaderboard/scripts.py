"""The page's scripts: ES modules under `static/`, joined into the one script that the page holds.

A page that is opened from a file cannot load modules. Imports give the order and are then removed, with each `export`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_IMPORT = re.compile(r'^import \{([^}]+)\} from "\./(\w+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:const|function) (\w+))", re.MULTILINE)
_TOP_LEVEL = re.compile(r"^(?:const|let|class|(?:async )?function) (\w+)", re.MULTILINE)
_LEFT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def join(entry: Path, others: Sequence[Path] = ()) -> str:
    """Joins a script and all that it imports into a single strict function scope, so that nothing becomes global.

    Args:
        entry: the script to start from; the modules it imports lie in its folder.
        others: scripts of other pages, whose imports count as uses of an export.

    Raises:
        ValueError: one line, for a missing module, a cycle, an import that nothing exports, an export that nothing
            imports, a name that two modules define, or another form of import or export.
    """
    texts: dict[str, str] = {}  # in the order of evaluation: a module follows those that it imports
    exports: dict[str, set[str]] = {}
    imported: set[tuple[str, str]] = set()
    owners: dict[str, str] = {}

    def add(name: str, importers: tuple[str, ...]) -> None:
        if name in importers:
            raise ValueError(f"scripts import in a cycle: {' -> '.join((*importers, name))}")
        if name in texts:
            return
        path = entry.with_name(f"{name}.js")
        if not path.is_file():
            raise ValueError(f"{importers[-1] if importers else path.parent}: no script {path.name!r}")
        text = path.read_text(encoding="utf-8")
        for names, source in _IMPORT.findall(text):
            add(source, (*importers, name))
            for wanted in names.replace(",", " ").split():
                if wanted not in exports[source]:
                    raise ValueError(f"{path.name}: {source}.js exports no {wanted!r}")
                imported.add((source, wanted))
        exports[name] = set(_EXPORT.findall(text))
        text = _EXPORT.sub("", _IMPORT.sub("", text))
        if left := _LEFT.search(text):
            raise ValueError(
                f'{path.name}: {left[0]!r}: expected import {{ NAMES }} from "./MODULE.js", export const or function'
            )
        for defined in _TOP_LEVEL.findall(text):
            if owners.setdefault(defined, name) != name:
                raise ValueError(f"{path.name}: {defined!r} is defined in {owners[defined]}.js too")
        texts[name] = text

    add(entry.stem, ())
    used = imported.union(*(_imports(other, set()) for other in others))
    unused = sorted({(name, export) for name in exports for export in exports[name]} - used)
    if unused:
        raise ValueError(f"{unused[0][0]}.js: {unused[0][1]!r} is exported and imported nowhere")
    return '(() => {\n"use strict";\n' + "\n".join(texts.values()) + "})();\n"


def _imports(path: Path, seen: set[Path]) -> set[tuple[str, str]]:
    """Collects what a script, and all that it imports, imports: pairs of module and name."""
    seen.add(path)
    found = set()
    for names, source in _IMPORT.findall(path.read_text(encoding="utf-8")):
        found |= {(source, name) for name in names.replace(",", " ").split()}
        if (other := path.with_name(f"{source}.js")) not in seen:
            found |= _imports(other, seen)
    return found
