"""The reader of the gin text of a record as data: no gin, no evaluation, nothing imported or executed.

Records come from strangers, and gin runs what a text tells it to import. This reader knows the statements that
`gin.config_str` writes, `scope/Class.field = VALUE` and `NAME = VALUE`, and refuses everything else: imports, includes,
blocks, keys given twice, characters that do not show. The run is then built by the rules and with the messages of a
gin file (`benchmark.cli.run_tree`). Texts have limits, within which reading takes seconds at most.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from benchmark.cli.gin_statements import MODULE, Binding, GinError, Macro, Reference, syntax_error
from benchmark.cli.run_tree import configure
from tasks.system.errors import shown

if TYPE_CHECKING:
    from benchmark.config import RunConfig

MAX_CHARACTERS = 256 * 1024
MAX_STRING = 4096
"""Characters of a string, which is the longest path that Linux has."""
MAX_NAME = 200
MAX_NUMBER = 400
MAX_BRACKETS = 32
_MAX_MESSAGE = 1000

# Nothing here is tried twice: `++`, `*+` and `?+` never give back what they took, so that time is linear in the text.
_TOKEN = re.compile(
    r"""
      (?P<space>  (?: [ \t] | \\\n )++ | \#[^\n]*+ )
    | (?P<end>    \n )
    | (?P<string> ' (?: [^'\\\n] | \\[^\n] )*+ ' | " (?: [^"\\\n] | \\[^\n] )*+ " )
    | (?P<number> -?+ (?: (?: 0 | [1-9][0-9]*+ ) (?: \.[0-9]*+ )?+ | \.[0-9]++ ) (?: [eE][+-]?+[0-9]++ )?+ (?![\w.]) )
    | (?P<name>   [A-Za-z_]\w*+ (?: [./][A-Za-z_]\w*+ )*+ )
    | (?P<mark>   [=%@()\[\]{},:] )
    """,
    re.VERBOSE,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_CONSTANTS = {"True": True, "False": False, "None": None}


def read_gin_text(text: str, name: str) -> RunConfig:
    """Reads the run that a self-contained gin text describes, without executing any of it.

    Args:
        text: the text of `benchmark.cli.gin_loader.load`, which records hold as `provenance.gin_text`.
        name: file or record, for messages.

    Returns:
        The configuration that `benchmark.cli.gin_loader.load` would give for a file with that text.

    Raises:
        GinError: the text is something else; one line that names place, statement and accepted form.
    """
    if len(text) > MAX_CHARACTERS:
        raise GinError(f"{name}: {len(text)} characters: expected at most {MAX_CHARACTERS}")
    try:
        with warnings.catch_warnings():
            # Python warns about odd backslashes in a string, with a second line on standard error and no place.
            warnings.simplefilter("ignore")
            statements = list(_Reader(text, name).statements())
        return configure(statements, name)[1]
    except GinError as error:
        # Lists of what is accepted may hold all names of the text.
        line = str(error)
        raise GinError(line if len(line) <= _MAX_MESSAGE else line[: _MAX_MESSAGE - 3] + "...") from None


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


class _Reader:
    """A recursive descent through the tokens of one text, at most `MAX_BRACKETS` deep."""

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name
        self.lines = text.split("\n")
        self.tokens = self._tokens()
        self.current = next(self.tokens)

    def _refuse(self, why: str, line: int = 0) -> NoReturn:
        line = line or self.current.line
        raise syntax_error(f"{self.name}:{line}", self.lines[line - 1], why)

    def _tokens(self) -> Iterator[_Token]:
        """Yields all tokens but spaces and comments; ends of lines only where no bracket is open."""
        for line, content in enumerate(self.lines, 1):
            # Such as those that reverse what follows on a screen, or a carriage return.
            if odd := next((c for c in content if not c.isprintable() and c != "\t"), ""):
                raise GinError(
                    f"{self.name}:{line}: {shown(repr(content))}: the character {odd!a}: expected printable ones"
                )
        position, line, brackets = 0, 1, 0
        while position < len(self.text):
            match = _TOKEN.match(self.text, position)
            if match is None:
                self._refuse(f"unexpected {self.text[position]!r}", line)
            kind, found, position = str(match.lastgroup), match[0], match.end()
            brackets += (found in _CLOSING) - (found in _CLOSING.values())
            if brackets > MAX_BRACKETS:
                self._refuse(f"more than {MAX_BRACKETS} brackets inside one another", line)
            if kind != "space" and not (kind == "end" and brackets > 0):
                yield _Token(kind, found, line)
            line += found.count("\n")
        yield _Token("end", "", len(self.lines))
        # The place of the last one, for a caller that asks for more.
        while True:
            yield _Token("stop", "", len(self.lines))

    def _take(self) -> _Token:
        token, self.current = self.current, next(self.tokens)
        return token

    def _expect(self, text: str) -> None:
        if self.current.text != text or self.current.kind != "mark":
            self._refuse(f"expected {text!r}, not {self._seen()}")
        self._take()

    def _seen(self) -> str:
        return "the end of the line" if self.current.kind in ("end", "stop") else shown(repr(self.current.text))

    def statements(self) -> Iterator[Binding]:
        """Yields the statements in order.

        Raises:
            GinError: at the first text that is no statement, or key that was given before.
        """
        places: dict[str, str] = {}
        while self.current.kind != "stop":
            if self.current.kind == "end":
                self._take()
                continue
            binding = self._statement()
            if binding.key in places:
                start = f"{binding.place}: {binding.key} = {shown(repr(binding.value))}"
                raise GinError(f"{start}: given before, at {places[binding.key]}; accepted: each key once")
            places[binding.key] = binding.place
            yield binding

    def _statement(self) -> Binding:
        line = self.current.line
        key = self._name()
        if self.current.text != "=":
            if key in ("import", "from", "include"):
                self._refuse(f"a text that is read as data has no {key}")
            self._refuse(f"expected '=' after {shown(repr(key))}, not {self._seen()}")
        self._take()
        value = self._value()
        if self.current.kind != "end":
            self._refuse(f"expected the end of the line, not {self._seen()}")
        scope, _, selector = key.rpartition("/")
        owner, _, parameter = selector.rpartition(".")
        if "." in scope:
            self._refuse(f"a scope is a name without dots, not {shown(repr(scope))}", line)
        if not owner:
            return Binding("", key, "", value, f"{self.name}:{line}")
        return Binding(scope, owner.removeprefix(MODULE + "."), parameter, value, f"{self.name}:{line}")

    def _name(self) -> str:
        if self.current.kind != "name":
            self._refuse(f"expected a name, not {self._seen()}")
        if len(self.current.text) > MAX_NAME:
            self._refuse(f"a name of more than {MAX_NAME} characters")
        return self._take().text

    def _value(self) -> Any:
        kind, text, _ = self.current
        if kind == "string":
            return self._string()
        if kind == "number":
            return self._number()
        if kind == "name" and text in _CONSTANTS:
            return _CONSTANTS[self._take().text]
        if kind == "mark" and text in _CLOSING:
            return self._container()
        if kind == "mark" and text == "%":
            self._take()
            return Macro(self._name())
        if kind == "mark" and text == "@":
            self._take()
            scope, _, name = self._name().rpartition("/")
            # Without parentheses it is refused with all other names, by a better message.
            if evaluate := self.current.text == "(":
                self._take()
                self._expect(")")
            return Reference(scope, name.removeprefix(MODULE + "."), evaluate)
        if kind == "name":
            self._refuse(f"{shown(repr(text))} is neither a number nor a known word; a string needs quotes")
        return self._refuse(f"expected a value, not {self._seen()}")

    def _number(self) -> int | float:
        text = self.current.text
        if len(text) > MAX_NUMBER:
            self._refuse(f"a number of more than {MAX_NUMBER} characters")
        self._take()
        return int(text) if text.lstrip("-").isdigit() else float(text)

    def _string(self) -> str:
        """Reads a string; several in a row are one."""
        parts: list[str] = []
        size = 0
        while self.current.kind == "string":
            # The token is a quoted string; Python is only asked for the value of its escapes.
            try:
                parts.append(ast.literal_eval(self.current.text))
            except (SyntaxError, ValueError) as error:
                self._refuse(str(error.args[0]))
            size += len(parts[-1])
            if size > MAX_STRING:
                self._refuse(f"a string of more than {MAX_STRING} characters")
            self._take()
        return "".join(parts)

    def _container(self) -> Any:
        opening = self._take().text
        values, keys, commas = [], [], 0
        while self.current.text != _CLOSING[opening]:
            if opening == "{":
                keys.append(self._value())
                self._expect(":")
            values.append(self._value())
            if self.current.text != _CLOSING[opening]:
                self._expect(",")
                commas += 1
        self._take()
        if opening == "[":
            return values
        if opening == "(":
            return values[0] if len(values) == 1 and not commas else tuple(values)
        try:
            twice = [key for key, count in Counter(keys).items() if count > 1]
        except TypeError as error:
            return self._refuse(str(error))
        if twice:
            self._refuse(f"the key {shown(repr(twice[0]))} is given twice")
        return dict(zip(keys, values, strict=True))
