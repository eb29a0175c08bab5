"""The loader of gin files and command-line bindings into one `RunConfig`; the only module that imports gin.

Every dataclass of `benchmark.config` is known to gin by its name, so gin files need no imports, and imports are
refused: they would run code. gin parses the files; the statements are plain data, checked as a whole
(`benchmark.cli.gin_statements`), from which `benchmark.cli.run_tree` builds the run. gin then writes the deciding
statements as the text that gives the run again.
"""

from __future__ import annotations

import importlib.util  # noqa: F401
import inspect
import io
import os
import tokenize
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import gin
from gin import config_parser

from benchmark.cli.gin_statements import (
    CLASSES,
    MODULE,
    OVERRIDE,
    Binding,
    GinError,
    Macro,
    Reference,
    syntax_error,
)
from benchmark.cli.run_tree import Plan, configure
from tasks.system.errors import nearest, shown

# gin 0.5.0 uses importlib.util without importing it.
from tasks.system.repository import REPOSITORY

if TYPE_CHECKING:
    from benchmark.config import RunConfig

__all__ = ["GinError", "Loaded", "gin_text", "load", "load_run_config"]


class Loaded(NamedTuple):
    """A configuration and the gin text that gives it again."""

    config: RunConfig
    text: str


def _register(name: str, cls: type) -> None:
    """Makes a class known to gin, which then knows the fields that a binding may name.

    Registering a function keeps gin from making a subclass.
    """

    def build(**values: Any) -> Any:
        return cls(**values)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = cls.__doc__
    build.__signature__ = inspect.signature(cls)  # type: ignore[attr-defined]
    gin.external_configurable(build, name=name, module=MODULE)


for _name, _cls in CLASSES.items():
    _register(_name, _cls)


class _Delegate(config_parser.ParserDelegate):
    """Turns references and macros into plain data."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        scope, _, name = scoped_configurable_name.rpartition("/")
        return Reference(scope, name.removeprefix(MODULE + "."), evaluate)

    def macro(self, macro_name: str) -> Macro:
        return Macro(macro_name)


class _Parser(config_parser.ConfigParser):
    """gin's parser, which alone would take the last value of a key that a dictionary gives twice."""

    _keys: tuple[Any, ...] = ()

    def _maybe_parse_container(self) -> tuple[bool, Any]:
        outer, self._keys = self._keys, ()
        found: tuple[bool, Any] = super()._maybe_parse_container()
        self._keys = outer
        return found

    def _parse_dict_item(self) -> tuple[Any, Any]:
        key, value = super()._parse_dict_item()
        if key in self._keys:
            self._raise_syntax_error(f"the key {shown(repr(key))} is given twice")
        self._keys += (key,)
        return key, value


def _shown_path(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _find(name: str, search_paths: Sequence[str], asked_by: str) -> Path:
    """Finds a gin file; `asked_by` begins the message when there is none."""
    folders = list(dict.fromkeys([Path.cwd(), *(Path(p).resolve() for p in search_paths), REPOSITORY]))
    for folder in folders:
        try:
            if (folder / name).is_file():
                return folder / name
        except OSError:  # a name too long for the file system
            continue
    places = [Path(name)] if Path(name).is_absolute() else folders
    for path in (folder / name for folder in folders):
        if os.path.exists(path):  # noqa: PTH110 (False, not an error, where a path cannot be looked at)
            raise GinError(
                f"{asked_by}: {path} is {'a folder' if path.is_dir() else 'no regular file'}; expected a file"
            )
    known = {file for folder in folders for file in _gin_files(folder)}
    looked = ", ".join(str(p) for p in places)
    raise GinError(f"{asked_by}: no such file; looked in: {looked}{nearest(name, known)}")


def _gin_files(folder: Path) -> list[str]:
    """Lists the gin files below a folder, for hints; none where it cannot be looked at."""
    try:
        return [path.relative_to(folder).as_posix() for path in (folder / "gin").rglob("*.gin")]
    except OSError:
        return []


def _refuse_syntax(place: str, text: str, why: str) -> NoReturn:
    if "Failed to parse token" in why:
        word = why.rpartition("Failed to parse token")[2].strip()
        why = f"{word} is neither a number nor a known word; a string needs quotes"
    elif "Unable to parse value" in why:
        why = "the value is none; a string needs quotes"
    name, _, value = text.partition("=")
    if place.startswith(OVERRIDE) and "needs quotes" in why and not set("'\"") & set(value):
        why += f" within those of the shell, as in {OVERRIDE}{name.strip()}=\"'{shown(value.strip())}'\""
    raise syntax_error(place, text, why)


def _parse(text: str, place_of: Callable[[int], str]) -> Iterator[Binding | config_parser.IncludeStatement]:
    """Reads statements without executing anything; `place_of` names the place of a line number."""
    lines = text.splitlines()
    line = 1
    parser = None
    try:
        parser = _Parser(io.StringIO(text), _Delegate())
        for statement in parser:
            line = statement.location.line_num
            if isinstance(statement, config_parser.ImportStatement):
                known = f"the classes of {MODULE} are known without"
                raise GinError(f"{place_of(line)}: {statement.format()}: imports are refused; {known}")
            if isinstance(statement, config_parser.IncludeStatement):
                yield statement
            elif isinstance(statement, config_parser.BindingStatement):
                scope, selector, parameter = statement.scope, statement.selector, statement.arg_name
                if not parameter and scope:
                    scope, selector = "", f"{scope}/{selector}"
                name = selector.removeprefix(MODULE + ".")
                yield Binding(scope, name, parameter, statement.value, place_of(line))
            elif isinstance(statement, config_parser.BlockDeclaration):
                name = statement.selector.removeprefix(MODULE + ".")
                if name not in CLASSES:
                    hint = nearest(name, CLASSES)
                    raise GinError(f"{place_of(line)}: {name}: unknown class{hint}; accepted: {', '.join(CLASSES)}")
    except SyntaxError as error:
        _refuse_syntax(place_of(error.lineno or line), error.text or "", error.msg)
    except (tokenize.TokenError, TypeError, RecursionError) as error:
        # An open bracket at the end of the file, an unhashable dictionary key, or brackets nested too deep to read.
        line = min(parser.current_token.start[0] if parser else line, len(lines))
        while line > 1 and not lines[line - 1].strip():
            line -= 1
        _refuse_syntax(place_of(line), lines[line - 1] if lines else "", str(error.args[0]))


def _read_file(path: Path, search_paths: Sequence[str], stack: tuple[Path, ...]) -> Iterator[Binding]:
    file = _shown_path(path)
    try:
        # A byte-order mark, which some editors write, is no part of the first name.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise GinError(f"{file}: cannot be read: {error}") from None
    for statement in _parse(text, lambda line: f"{file}:{line}"):
        if isinstance(statement, Binding):
            yield statement
            continue
        start = f"{file}:{statement.location.line_num}: include {shown(repr(statement.filename))}"
        inner = _find(statement.filename, search_paths, start)
        if inner.resolve() in stack:
            raise GinError(f"{start}: the file includes itself")
        yield from _read_file(inner, search_paths, (*stack, inner.resolve()))


def _read_override(binding: str) -> Iterator[Binding]:
    """Reads one `NAME=VALUE` of the command line."""
    name = binding.partition("=")[0].strip()
    place = f"{OVERRIDE}{name}"
    statements = list(_parse(binding, lambda _: place))
    if len(statements) != 1 or not isinstance(statements[0], Binding):
        raise GinError(f"{place}: {shown(repr(binding))}: expected exactly one binding, as in --gin.SEED=3")
    yield statements[0]


def _text(plan: Plan) -> str:
    """Lets gin write the statements; gin's global state is empty before and after."""
    gin.clear_config()
    try:
        gin.parse_config("\n".join(b.text for b in plan.statements))
        lines = [line.rstrip() for line in gin.config_str(max_line_length=120).splitlines()]
    finally:
        gin.clear_config()
    return "\n".join(line for line in lines if line and not line.startswith("#")) + "\n"


def load(gin_files: Sequence[str], bindings: Sequence[str] = (), search_paths: Sequence[str] = ()) -> Loaded:
    """Reads gin files and bindings, later ones winning, and builds the run's configuration.

    Args:
        gin_files: file names, looked for in the current directory, in `search_paths` and in the repository; likewise
            the files that they include.
        bindings: `NAME=VALUE` or `Class.field=VALUE`, applied after the files.
        search_paths: further folders to look in.

    Returns:
        The configuration, and one gin text without includes that gives the same configuration.

    Raises:
        GinError: with one line that names place, binding, value, accepted values and the nearest match.
    """
    if not gin_files:
        raise GinError("--gin_file: expected at least one gin file, as in --gin_file=gin/quickstart.gin")
    statements: list[Binding] = []
    with warnings.catch_warnings():
        # Python warns about odd backslashes in a string, with a second line on standard error and no place.
        warnings.simplefilter("ignore")
        for name in gin_files:
            path = _find(name, search_paths, f"--gin_file={name}")
            statements += _read_file(path, search_paths, (path.resolve(),))
        for binding in bindings:
            statements += _read_override(binding)
    plan, run = configure(statements, ", ".join(gin_files))
    return Loaded(run, _text(plan))


def load_run_config(
    gin_files: Sequence[str], bindings: Sequence[str] = (), search_paths: Sequence[str] = ()
) -> RunConfig:
    """Gives the configuration of `load`."""
    return load(gin_files, bindings, search_paths).config


def gin_text(gin_files: Sequence[str], bindings: Sequence[str] = (), search_paths: Sequence[str] = ()) -> str:
    """Gives the self-contained gin text of `load`, for records and manifests."""
    return load(gin_files, bindings, search_paths).text
