"""The statements of gin files as plain data, and everything that can be said about them before a run is built.

gin itself accepts bindings that nothing uses and macros that nobody meant, and it forgets where a value stood. The
functions here look at all statements together, with their places, and refuse each of these in one line. They know the
dataclasses of `benchmark.config` and gin's rules of scope, but not gin: `benchmark.gin_loader` makes the statements.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark import config

ROOT = "RunConfig"
REQUIRED = "gin.REQUIRED"
CLASSES: Mapping[str, type] = {
    name: value
    for name, value in inspect.getmembers(config, dataclasses.is_dataclass)
    if inspect.isclass(value) and name in config.__all__
}


class GinError(ValueError):
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


def shown(value: Any, limit: int = 80) -> str:
    """The value for a message: on one line, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?` for the most similar known name, or nothing when none is similar."""
    by_lower = {k.lower(): k for k in sorted(known, reverse=True)}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _applies(binding: Binding, scope: str, name: str) -> bool:
    """Tells whether gin hands the binding to `name` called in `scope`: its own scope must be a leading part of that."""
    parts = [p for p in binding.scope.split("/") if p]
    return binding.name == name and bool(binding.parameter) and scope.split("/")[: len(parts)] == parts


def fields_of(name: str) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a configuration class by name."""
    return {f.name: f for f in dataclasses.fields(CLASSES[name])}


def check_names(statements: Sequence[Binding]) -> None:
    """Refuses unknown classes, fields and macros, references without parentheses, and numbers that are not finite.

    Raises:
        GinError: for the first such statement.
    """
    macros = {b.name for b in statements if not b.parameter}
    for b in statements:
        start = f"{b.place}: {b.key} = {shown(b.value)}"
        if b.parameter and b.name not in CLASSES:
            raise GinError(
                f"{start}: unknown class {b.name!r}{nearest(b.name, CLASSES)}; accepted: {', '.join(CLASSES)}"
            )
        if b.parameter and b.parameter not in fields_of(b.name):
            names = fields_of(b.name)
            hint = nearest(b.parameter, names)
            raise GinError(f"{start}: {b.name} has no field {b.parameter!r}{hint}; accepted: {', '.join(names)}")
        if not b.parameter and b.name in CLASSES:
            raise GinError(f"{start}: {b.name} is a class; accepted: {b.name}.FIELD = VALUE")
        for leaf in _leaves(b.value):
            if isinstance(leaf, Reference) and leaf.name not in CLASSES:
                hint = nearest(leaf.name, CLASSES)
                raise GinError(f"{start}: unknown class {leaf.name!r}{hint}; accepted: {', '.join(CLASSES)}")
            if isinstance(leaf, Reference) and not leaf.evaluate:
                raise GinError(f"{start}: {leaf!r} names a class, not an object; accepted: {leaf!r}()")
            if isinstance(leaf, Macro) and leaf.name not in macros | {REQUIRED}:
                defined = ", ".join(sorted(macros)) or "none is defined"
                raise GinError(f"{start}: undefined macro {leaf!r}{nearest(leaf.name, macros)}; defined: {defined}")
            if isinstance(leaf, float) and not math.isfinite(leaf):
                raise GinError(f"{start}: expected a finite number")


def check_used(statements: Sequence[Binding]) -> None:
    """Refuses statements that no part of the run would ever use.

    A statement that would be used but for a later one that overrides it counts as used: a base file may set up what an
    experiment replaces.

    Raises:
        GinError: for the first unused statement.
    """
    used: set[int] = set()
    scopes: dict[str, set[str]] = {}
    todo, seen = [("", ROOT)], {("", ROOT)}
    while todo:
        scope, name = todo.pop()
        is_macro = name.startswith("%")
        if not is_macro:
            scopes.setdefault(name, set()).add(scope)
        for index, b in enumerate(statements):
            if not (b.name == name[1:] and not b.parameter if is_macro else _applies(b, scope, name)):
                continue
            used.add(index)
            for leaf in _leaves(b.value):
                if isinstance(leaf, Reference):
                    node = (leaf.scope or scope, leaf.name)
                elif isinstance(leaf, Macro):
                    # gin evaluates a macro inside a scope of the macro's own name.
                    node = (leaf.name, repr(leaf))
                else:
                    continue
                if node not in seen:
                    seen.add(node)
                    todo.append(node)
    for index, b in enumerate(statements):
        if index in used:
            continue
        start = f"{b.place}: {b.key} = {shown(b.value)}"
        if not b.parameter:
            others = {s.name for i, s in enumerate(statements) if not s.parameter and (i in used) and s.name != b.name}
            accepted = ", ".join(f"%{o}" for o in sorted(others)) or "none"
            raise GinError(f"{start}: unused macro {b.name!r}{nearest(b.name, others)}; used macros: {accepted}")
        if b.name not in scopes:
            raise GinError(f"{start}: unused: nothing refers to @{b.name}()")
        known = sorted(s for s in scopes[b.name] if s)
        hint = nearest(b.scope, known)
        raise GinError(f"{start}: unused: no @{b.scope}/{b.name}(){hint}; its scopes: {', '.join(known) or 'none'}")


@dataclass(frozen=True)
class Plan:
    """The statements that decide the run, and where each object of it is asked for.

    Attributes:
        statements: the last statement of each key, of those that are used.
        origins: (scope, class) -> the place that refers to it.
    """

    statements: tuple[Binding, ...]
    origins: Mapping[tuple[str, str], str]

    def find(self, scope: str, name: str, parameter: str) -> Binding | None:
        """The statement that gives a field of an object, by gin's rule: the longest matching scope wins."""
        found = [b for b in self.statements if b.parameter == parameter and _applies(b, scope, name)]
        return max(found, key=lambda b: len(b.scope.split("/")) if b.scope else 0, default=None)

    def macro(self, name: str) -> Binding:
        """The statement that defines a macro."""
        return next(b for b in self.statements if b.name == name and not b.parameter)

    def explain(self, error: config.ConfigError, scope: str, owner: str) -> GinError:
        """Adds to a refused value the place where it was written.

        Args:
            error: what a dataclass refused.
            scope: gin's scope in which it was being built.
            owner: the class that was being built; the error may name a field of one of its parts.
        """
        name, _, parameter = error.selector.partition(".")
        scopes = [scope] if name == owner else [s for s, n in self.origins if n == name]
        bindings = [b for s in scopes if (b := self.find(s, name, parameter))]
        choices = fields_of(name)[parameter].metadata.get("choices") or () if name in CLASSES else ()
        end = f": expected {error.accepted}" + nearest(str(error.value), map(str, choices))
        if not bindings:
            place = next((self.origins[s, name] for s in scopes if (s, name) in self.origins), self.origins["", ROOT])
            return GinError(f"{place}: {error.selector} = {shown(error.value)} (the default){end}")
        source, via = bindings[-1], ""
        while isinstance(source.value, Macro):
            via = f" (for {bindings[-1].key}, {bindings[-1].place})"
            source = self.macro(source.value.name)
        return GinError(f"{source.place}: {source.key} = {shown(source.value)}{via}{end}")


def make_plan(statements: Sequence[Binding], root_place: str) -> Plan:
    """Follows the run from its root through every reference and keeps what decides it.

    Args:
        statements: all statements in order; a later one replaces an earlier one of the same key.
        root_place: what to name as the place of the root object, such as the first gin file.

    Raises:
        GinError: a required field or macro without a value, or an object that contains itself.
    """
    last = {(b.scope, b.name, b.parameter): b for b in statements}
    everything = Plan(tuple(last.values()), {})
    kept: set[str] = set()
    origins: dict[tuple[str, str], str] = {}

    def follow(value: Any, scope: str, source: Binding, path: tuple[str, ...]) -> None:
        kept.add(source.key)
        for leaf in _leaves(value):
            if isinstance(leaf, Reference):
                visit(leaf.scope or scope, leaf.name, source.place, source.text, path)
            elif isinstance(leaf, Macro):
                if leaf.name == REQUIRED:
                    raise GinError(f"{source.place}: {source.key} is required: give --gin.{source.key}=VALUE")
                if repr(leaf) in path:
                    raise GinError(f"{source.place}: {source.text}: the macro contains itself")
                inner = everything.macro(leaf.name)
                follow(inner.value, leaf.name, inner, (*path, repr(leaf)))

    def visit(scope: str, name: str, place: str, text: str, path: tuple[str, ...]) -> None:
        node = f"{scope}/{name}"
        if node in path:
            raise GinError(f"{place}: {text}: the object contains itself")
        origins.setdefault((scope, name), place)
        hints = typing.get_type_hints(CLASSES[name])
        for field in fields_of(name).values():
            binding = everything.find(scope, name, field.name)
            if binding is not None:
                follow(binding.value, scope, binding, (*path, node))
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                hint: str = hints[field.name].__name__
                kind = f"@{hint}()" if hint in CLASSES else f"a value of type {hint}"
                where = f"{place}: {text}: " if text else f"{place}: "
                prefix = f"{scope}/" if scope else ""
                raise GinError(f"{where}{prefix}{name}.{field.name} is missing: expected {kind}")

    visit("", ROOT, root_place, "", ())
    return Plan(tuple(b for b in everything.statements if b.key in kept), origins)
