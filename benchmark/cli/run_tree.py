"""The build of a `RunConfig` from the statements of a run, by gin's rules and without gin.

A binding's value is built in the scope of the object that it belongs to, a reference with a scope in that scope alone,
and a macro's value in a scope of the macro's name. Statements give the same run and the same messages whether they were
read in files or in a record. Those of a record come from a stranger, so everything here is linear and has limits.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.cli.gin_statements import (
    CLASSES,
    OVERRIDE,
    REQUIRED,
    ROOT,
    Binding,
    GinError,
    Macro,
    Reference,
    check_names,
    check_used,
    fields_of,
    leading_scopes,
)
from benchmark.config import ConfigError, DataConfig, RunConfig
from tasks.catalogue import TASKS, official_stems
from tasks.pretraining import PRETRAINING_TASKS
from tasks.system.errors import nearest, nearest_match_hint, shown
from tasks.train_files import accepted_instead

MAX_VALUES = 20_000
"""Values of a run, each counted at every reference: a few macros that hold one another twice make billions."""
MAX_DEPTH = 50
"""Objects, macros and brackets inside one another."""


@dataclass(frozen=True)
class Plan:
    """The statements that decide the run, and the place of the reference to each object of it.

    Attributes:
        statements: the last statement of each key, of those that are used.
        origins: (scope, class) -> the place that refers to it.
    """

    statements: tuple[Binding, ...]
    origins: Mapping[tuple[str, str], str]

    @functools.cached_property
    def _by_key(self) -> dict[tuple[str, str, str], Binding]:
        return {(b.scope, b.name, b.parameter): b for b in self.statements}

    def find(self, scope: str, name: str, parameter: str) -> Binding | None:
        """Finds the statement that gives a field of an object, by gin's rule: the longest matching scope wins."""
        found = (self._by_key.get((leading, name, parameter)) for leading in leading_scopes(scope))
        return next((b for b in found if b is not None), None)

    def macro(self, name: str) -> Binding:
        """Finds the statement that defines a macro."""
        return self._by_key["", name, ""]

    def explain(self, error: ConfigError, scope: str, owner: str) -> GinError:
        """Adds to a refused value the place where it was written.

        Args:
            error: the refusal of a dataclass.
            scope: gin's scope in which it was being built.
            owner: the class that was being built; the error may name a field of one of its parts.
        """
        name, _, parameter = error.selector.partition(".")
        scopes = [scope] if name == owner else [s for s, n in self.origins if n == name]
        bindings = [b for s in scopes if (b := self.find(s, name, parameter))]
        choices = fields_of(name)[parameter].metadata.get("choices") or () if name in CLASSES else ()
        end = f": expected {error.accepted}"
        if isinstance(error.unknown, str):
            end += nearest(error.unknown, map(str, choices))
        elif isinstance(error.unknown, Macro):
            end += "; a macro cannot be a key"
        if not bindings:
            place = next((self.origins[s, name] for s in scopes if (s, name) in self.origins), self.origins["", ROOT])
            return GinError(f"{place}: {error.selector} = {shown(repr(error.value))} (the default){end}")
        source, via = bindings[-1], ""
        key, value, entry = source.key, source.value, error.entry
        while isinstance(value, Macro) or (entry is not None and isinstance(value, Mapping)):
            if isinstance(value, Macro):
                via = f" (for {bindings[-1].key}{error.subscript}, {bindings[-1].place})"
                source = self.macro(value.name)
                key, value = source.key, source.value
            else:
                key, value, entry = key + error.subscript, value[entry], None
        return GinError(f"{source.place}: {key} = {shown(repr(value))}{via}{end}")


def make_plan(statements: Sequence[Binding], root_place: str) -> Plan:
    """Follows the run from its root through every reference and keeps the statements that decide it.

    Args:
        statements: all statements in order; a later one replaces an earlier one of the same key.
        root_place: place of the root object in messages, such as the first gin file.

    Raises:
        GinError: a required field or macro without a value, an object that contains itself, or more than `MAX_VALUES`
            or `MAX_DEPTH`.
    """
    last = {(b.scope, b.name, b.parameter): b for b in statements}
    everything = Plan(tuple(last.values()), {})
    kept: set[str] = set()
    origins: dict[tuple[str, str], str] = {}

    # Values in each object and macro. What was followed once is not followed again, as there may be many ways to it.
    sizes: dict[str, int] = {}

    def start(source: Binding | None) -> str:
        return f"{source.place}: {source.key} = {shown(repr(source.value), 160)}" if source else root_place

    def limited(size: int, source: Binding | None) -> int:
        if size > MAX_VALUES:
            raise GinError(f"{start(source)}: expected at most {MAX_VALUES} values, with all that it refers to")
        return size

    def deeper(path: tuple[str, ...], node: str, source: Binding | None) -> tuple[str, ...]:
        if len(path) >= MAX_DEPTH:
            raise GinError(f"{start(source)}: expected at most {MAX_DEPTH} values inside one another")
        return (*path, node)

    def follow(value: Any, scope: str, source: Binding, path: tuple[str, ...]) -> int:
        kept.add(source.key)
        if isinstance(value, Reference):
            return visit(value.scope or scope, value.name, source, path)
        if isinstance(value, Macro):
            return expand(value, source, path)
        if isinstance(value, Mapping):
            value = [*value.keys(), *value.values()]
        if not isinstance(value, list | tuple):
            return 1 + (len(value) // 100 if isinstance(value, str) else 0)
        size, inside = 1, deeper(path, "[]", source)
        for item in value:
            size = limited(size + follow(item, scope, source, inside), source)
        return size

    def expand(macro: Macro, source: Binding, path: tuple[str, ...]) -> int:
        if macro.name == REQUIRED:
            raise GinError(f"{source.place}: {source.key} is required: give --gin.{source.key}=VALUE")
        node = repr(macro)
        if node in path:
            raise GinError(f"{start(source)}: the macro contains itself")
        if node not in sizes:
            inner = everything.macro(macro.name)
            sizes[node] = follow(inner.value, macro.name, inner, deeper(path, node, source))
        return sizes[node]

    def visit(scope: str, name: str, source: Binding | None, path: tuple[str, ...]) -> int:
        node = f"{scope}/{name}"
        if node in path:
            raise GinError(f"{start(source)}: the object contains itself")
        if node in sizes:
            return sizes[node]
        origins[scope, name] = source.place if source else root_place
        size, inside = 1, deeper(path, node, source)
        for field in fields_of(name).values():
            binding = everything.find(scope, name, field.name)
            if binding is not None:
                size = limited(size + follow(binding.value, scope, binding, inside), source)
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                hint: str = typing.get_type_hints(CLASSES[name])[field.name].__name__
                kind = f"@{hint}()" if hint in CLASSES else f"a value of type {hint}"
                prefix = f"{scope}/" if scope else ""
                raise GinError(f"{start(source)}: {prefix}{name}.{field.name} is missing: expected {kind}")
            else:
                size += 1
        sizes[node] = size
        return size

    visit("", ROOT, None, ())
    return Plan(tuple(b for b in everything.statements if b.key in kept), origins)


def configure(statements: Sequence[Binding], root_place: str) -> tuple[Plan, RunConfig]:
    """Checks the statements of a run as a whole and builds its configuration.

    Args:
        statements: all statements in order; a later one replaces an earlier one of the same key.
        root_place: place of the root object in messages, such as the first gin file.

    Returns:
        The statements that decide the run, and the run.

    Raises:
        GinError: with one line that names place, statement, value and what is accepted.
    """
    check_names(statements)
    # Missing values first: where a reference is forgotten, all that depends on it looks unused.
    plan = make_plan(statements, root_place)
    check_used(statements)
    run = build(plan)
    _check_overrides(plan, statements)
    return plan, run


def _check_overrides(plan: Plan, statements: Sequence[Binding]) -> None:
    """Refuses a binding of the command line that decides nothing, which asks for a change and would get none.

    In a file such a binding may be a default that every object of its class replaces.
    """
    deciding = {b.key for b in plan.statements}
    for b in statements:
        if b.key in deciding or not b.place.startswith(OVERRIDE):
            continue
        start = f"{b.place}: {b.key} = {shown(repr(b.value))}: unused: "
        if not b.parameter:
            raise GinError(f"{start}nothing that is left of the run refers to %{b.name}")
        scopes = [s for s, name in plan.origins if name == b.name and b.scope in leading_scopes(s)]
        found = (plan.find(scope, b.name, b.parameter) for scope in scopes)
        others = list(dict.fromkeys(other.key for other in found if other))
        if not others:
            raise GinError(f"{start}nothing that is left of the run refers to @{b.key.rpartition('.')[0]}()")
        flags = ", ".join(f"{OVERRIDE}{other}=VALUE" for other in others)
        raise GinError(f"{start}every {b.name} that it could change has a value of its own; accepted: {flags}")


def build(plan: Plan) -> RunConfig:
    """Builds the tree of a plan.

    Raises:
        GinError: a value that its class refuses, or tasks that the catalogue does not have.
    """
    # Objects are frozen, so that all references to one may share it.
    objects: dict[tuple[str, str], Any] = {}

    def resolve(value: Any, scope: str) -> Any:
        if isinstance(value, Reference):
            return make(value.scope or scope, value.name)
        if isinstance(value, Macro):
            return resolve(plan.macro(value.name).value, value.name)
        if isinstance(value, list | tuple):
            return type(value)(resolve(item, scope) for item in value)
        if isinstance(value, Mapping):
            return {key: resolve(item, scope) for key, item in value.items()}
        return value

    def make(scope: str, name: str) -> Any:
        if (scope, name) not in objects:
            found = {f: plan.find(scope, name, f) for f in fields_of(name)}
            values = {field: resolve(binding.value, scope) for field, binding in found.items() if binding}
            try:
                objects[scope, name] = CLASSES[name](**values)
            except ConfigError as error:
                raise plan.explain(error, scope, name) from None
            except RecursionError:
                # A condition of a search space, with thousands of terms.
                raise GinError(f"{plan.origins[scope, name]}: {name}: expected values that are less nested") from None
        return objects[scope, name]

    run = make("", ROOT)
    try:
        _check_tasks(run.data)
        _check_recipes(run)
    except ConfigError as error:
        raise plan.explain(error, "", ROOT) from None
    assert isinstance(run, RunConfig)
    return run


def _check_tasks(data: DataConfig) -> None:
    """Refuses tasks that neither the catalogue nor the run defines, which the settings alone cannot know."""
    own = [task.name for task in data.own_tasks]
    for name in data.tasks:
        if name in own and (name in TASKS or name in PRETRAINING_TASKS):
            accepted = f"another TaskConfig.name than {name!r}, which the catalogue has"
            raise ConfigError("DataConfig.tasks", data.tasks, accepted)
        if name in own:
            continue
        if name not in TASKS:
            known = [*TASKS, *own]
            accepted = f"names of the task catalogue; {name!r} is not there, {nearest_match_hint(name, known)}"
            raise ConfigError("DataConfig.tasks", data.tasks, accepted)
        if (trained_on := TASKS[name].trained_on) and trained_on not in data.tasks:
            raise ConfigError("DataConfig.tasks", data.tasks, f"{trained_on!r} too, as its model predicts {name!r}")
    for name, file in data.train_files.items():
        if accepted := accepted_instead(TASKS[name], file, official_stems(TASKS[name])):
            raise ConfigError("DataConfig.train_files", file, accepted, entry=name)


def _check_recipes(run: RunConfig) -> None:
    """Refuses recipes of tasks that nobody knows, or that have no training data."""
    own = [task.name for task in run.data.own_tasks]
    for recipe in run.finetune.recipes:
        for field in ("task", "start_task"):
            name = getattr(recipe, field)
            if not name or name in own:
                continue
            if name not in TASKS:
                hint = nearest_match_hint(name, [*TASKS, *own])
                recipe.refuse(field, f"a name of the task catalogue or of an own task; {hint}")
            if TASKS[name].trained_on:
                recipe.refuse(field, f"a task with training data, as {TASKS[name].trained_on!r}")
