"""The statements of gin files as plain data, and their checks before a run is built.

gin itself accepts unused bindings and mistyped macros, and forgets the place of a value. The functions here look at all
statements with their places, and refuse each such mistake in one line. They know the
dataclasses of `benchmark.config` and gin's rules of scope, but not gin: `benchmark.cli.gin_loader` makes the statements
of gin files, `benchmark.cli.gin_data` those of the text in a record, and `benchmark.cli.run_tree` builds the run.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark import config
from benchmark.config.losses import LOSSES
from tasks.system.errors import InputError, nearest, shown

ROOT = "RunConfig"
REQUIRED = "gin.REQUIRED"
MODULE = "benchmark.config"
OVERRIDE = "--gin."
"""Start of the place of a binding of the command line."""
MAX_BITS = 1000
"""Of a whole number: a float could still hold it, and Python still writes it."""
CLASSES: Mapping[str, type] = {
    name: value
    for name, value in inspect.getmembers(config, dataclasses.is_dataclass)
    if inspect.isclass(value) and name in config.__all__
}


class GinError(InputError):
    """A configuration that cannot be used; the message is one line with place, name, value and what is accepted."""


@dataclass(frozen=True)
class Reference:
    """`@scope/Class()`: an object that gin builds."""

    scope: str
    name: str
    evaluate: bool = True

    def __repr__(self) -> str:
        """The reference as it is written in a gin file."""
        return f"@{self.scope + '/' if self.scope else ''}{self.name}{'()' if self.evaluate else ''}"


@dataclass(frozen=True)
class Macro:
    """`%NAME`: the value of the macro NAME."""

    name: str

    def __repr__(self) -> str:
        """The macro as it is written in a gin file."""
        return f"%{self.name}"


@dataclass(frozen=True)
class Binding:
    """One statement `scope/Class.parameter = value`, or `NAME = value` for a macro (then `parameter` is empty).

    Attributes:
        scope: scope names joined by slashes; empty for macros.
        name: the class, or the macro.
        parameter: the field; empty for macros.
        value: a literal that may contain `Reference` and `Macro`.
        place: `file:line`, or `--gin.NAME`.
    """

    scope: str
    name: str
    parameter: str
    value: Any
    place: str

    @property
    def key(self) -> str:
        """Left side of the statement."""
        parameter = f".{self.parameter}" if self.parameter else ""
        return f"{self.scope + '/' if self.scope else ''}{self.name}{parameter}"

    @property
    def text(self) -> str:
        """The whole statement, as gin reads it."""
        return f"{self.key} = {self.value!r}"


def syntax_error(place: str, text: str, why: str) -> GinError:
    """Makes the error for a text that is no gin statement; `text` is its line, or nothing."""
    line = f": {' '.join(text.split())[:80]}" if text.strip() else ""
    accepted = (
        "Class.field = VALUE or NAME = VALUE, where VALUE is a number, a string in quotes, True, False, None, "
        "a list, tuple or dictionary of values, %NAME or @Class()"
    )
    return GinError(f"{place}{line}: syntax error: {' '.join(why.split()).rstrip('.')}; accepted: {accepted}")


def leaves(value: Any) -> Iterator[Any]:
    """Lists the values in a value: those of lists, tuples and dictionaries, at any depth."""
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def leading_scopes(scope: str) -> Iterator[str]:
    """Lists the scopes whose bindings gin applies to an object in `scope`: its leading parts, the longest first."""
    while scope:
        yield scope
        scope = scope.rpartition("/")[0]
    yield ""


def fields_of(name: str) -> dict[str, dataclasses.Field[Any]]:
    """Gives the fields of a configuration class by name."""
    return {f.name: f for f in dataclasses.fields(CLASSES[name])}


def check_names(statements: Sequence[Binding]) -> None:
    """Refuses unknown classes, fields and macros, references without parentheses, and numbers too large or not finite.

    Raises:
        GinError: for the first such statement.
    """
    macros = {b.name for b in statements if not b.parameter}
    accepted_macros = macros | {REQUIRED}
    for b in statements:
        # First, as Python refuses to write such a number into a message.
        if any(isinstance(leaf, int) and leaf.bit_length() > MAX_BITS for leaf in leaves(b.value)):
            raise GinError(f"{b.place}: {b.key}: expected whole numbers of at most {MAX_BITS} bits")
        start = f"{b.place}: {b.key} = {shown(repr(b.value))}"
        if b.parameter and b.name not in CLASSES:
            raise GinError(
                f"{start}: unknown class {b.name!r}{nearest(b.name, CLASSES)}; accepted: {', '.join(CLASSES)}"
            )
        if b.parameter and b.parameter not in fields_of(b.name):
            names = fields_of(b.name)
            loss = b.parameter.removesuffix("_weight")
            if "weights" in names and loss != b.parameter and loss in LOSSES:
                field, number = f"{b.name}.weights", isinstance(b.value, int | float) and not isinstance(b.value, bool)
                weight = shown(b.value) if number else "NUMBER"
                raise GinError(f"{start}: replaced by {field}; accepted: {field} = {{{loss!r}: {weight}, ...}}")
            hint = nearest(b.parameter, names)
            raise GinError(f"{start}: {b.name} has no field {b.parameter!r}{hint}; accepted: {', '.join(names)}")
        if not b.parameter and b.name in CLASSES:
            raise GinError(f"{start}: {b.name} is a class; accepted: {b.name}.FIELD = VALUE")
        for leaf in leaves(b.value):
            if isinstance(leaf, Reference) and leaf.name not in CLASSES:
                hint = nearest(leaf.name, CLASSES)
                raise GinError(f"{start}: unknown class {leaf.name!r}{hint}; accepted: {', '.join(CLASSES)}")
            if isinstance(leaf, Reference) and not leaf.evaluate:
                raise GinError(f"{start}: {leaf!r} names a class, not an object; accepted: {leaf!r}()")
            if isinstance(leaf, Macro) and leaf.name not in accepted_macros:
                defined = ", ".join(sorted(macros)) or "none is defined"
                raise GinError(f"{start}: undefined macro {leaf!r}{nearest(leaf.name, macros)}; defined: {defined}")
            if isinstance(leaf, float) and not math.isfinite(leaf):
                raise GinError(f"{start}: expected a finite number, not {leaf!r}")


def check_used(statements: Sequence[Binding]) -> None:
    """Refuses statements that no part of the run would use.

    A statement that a later one overrides counts as used: an experiment may replace settings of a base file.

    Raises:
        GinError: for the first unused statement.
    """
    used: set[int] = set()
    scopes: dict[str, set[str]] = {}
    given: dict[tuple[str, str], list[int]] = {}
    inner = [tuple(dict.fromkeys(x for x in leaves(b.value) if isinstance(x, Reference | Macro))) for b in statements]
    for index, b in enumerate(statements):
        given.setdefault((b.scope, b.name) if b.parameter else ("", f"%{b.name}"), []).append(index)
    todo, seen = [("", ROOT)], {("", ROOT)}
    while todo:
        scope, name = todo.pop()
        if not name.startswith("%"):
            scopes.setdefault(name, set()).add(scope)
        for index in (i for leading in leading_scopes(scope) for i in given.get((leading, name), ())):
            used.add(index)
            for leaf in inner[index]:
                # gin evaluates a macro inside a scope of the macro's own name.
                node = (leaf.name, repr(leaf)) if isinstance(leaf, Macro) else (leaf.scope or scope, leaf.name)
                if node not in seen:
                    seen.add(node)
                    todo.append(node)
            # In another scope, the others are the same again.
            inner[index] = tuple(x for x in inner[index] if isinstance(x, Reference) and not x.scope)
    for index, b in enumerate(statements):
        if index in used:
            continue
        start = f"{b.place}: {b.key} = {shown(repr(b.value))}"
        if not b.parameter:
            others = {s.name for i, s in enumerate(statements) if not s.parameter and (i in used) and s.name != b.name}
            accepted = ", ".join(f"%{o}" for o in sorted(others)) or "none"
            raise GinError(f"{start}: unused macro {b.name!r}{nearest(b.name, others)}; used macros: {accepted}")
        if b.name not in scopes:
            raise GinError(f"{start}: unused: nothing refers to @{b.name}()")
        known = sorted(s for s in scopes[b.name] if s)
        hint = nearest(b.scope, known)
        raise GinError(f"{start}: unused: no @{b.scope}/{b.name}(){hint}; its scopes: {', '.join(known) or 'none'}")
