"""Says what is wrong with a field in the words of the one who wrote it.

A decoder's own message speaks of Python types and paths, and repeats values. These sentences have the field's name as it is written in JSON
or YAML, what it must be, and what kind of value was found: never the value.
"""

from __future__ import annotations

import difflib
import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from msgspec import inspect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: What a decoder raises for bytes that are not what they should be; the last one: nested too deep.
DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_A_TIME: Final = "a time with its zone, as 2026-11-22T10:00:00Z"
_KINDS: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "list": "a list",
    "object": "an object",
    "dict": "an object",
    "null": "null",
    "NoneType": "null",
    "datetime": _A_TIME,
    "date": "a date",
    "timedelta": "a duration",
}
_UNITS: Final = {"str": "characters", "bytes": "bytes", "array": "entries", "object": "names"}
_BOUNDS: Final = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_PLACE: Final = re.compile(r" - at (?:`(key)` in )?`\$(.*)`\Z", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
#: The place of one value of many whose names the sender chose.
_ANY: Final = "[...]"
_MALFORMED: Final = re.compile(r"JSON is malformed: (.*) \(byte (\d+)\)")
#: Messages of at most so many characters are kept with what they say: many bad records have the same fault.
_KEPT_CHARS: Final = 200
_KEPT: Final = 500
#: Longest name of an unknown field that is repeated.
_LONGEST: Final = 64
_FEW: Final = 12


class FieldProblem(NamedTuple):
    """`path`: of the field, as ``devices[0].token``; empty for the whole value. `words` go on after its name."""

    path: str
    words: str

    def sentence(self, whole: str) -> str:
        """`whole`: what the value is called."""
        return f"`{self.path}` {self.words}" if self.path else f"{whole} {self.words}"

    def inside(self, field: str) -> FieldProblem:
        """The same problem, where the value is this field of another."""
        return self._replace(path=f"{field}.{self.path}".rstrip(".").replace(".[", "["))


def problem_of(error: Exception, kind: Any = None) -> FieldProblem:
    """What is wrong with a value of the type `kind`.

    Args:
        error: one of `DECODE_ERRORS`.
    """
    if not isinstance(error, msgspec.ValidationError):
        return FieldProblem("", _not_json(error))
    text = str(error)
    return _kept(text, kind) if len(text) <= _KEPT_CHARS else _problem(text, kind)


@lru_cache(_KEPT)
def _kept(text: str, kind: Any) -> FieldProblem:
    return _problem(text, kind)


def _problem(text: str, kind: Any) -> FieldProblem:
    is_key, path = False, ""
    if place := _PLACE.search(text):
        is_key, path, text = place[1] is not None, place[2], text[: place.start()]
    node = _node(kind, path, is_key)
    if missing := re.fullmatch(r"Object missing required field `(.*)`", text):
        path, words = f"{path}.{missing[1]}", "is missing"
    elif unknown := re.fullmatch(r"Object contains unknown field `(.*)`", text, re.DOTALL):
        path, words = f"{path}.{unknown[1][:_LONGEST]}", _unknown(unknown[1], node)
    else:
        words = _words(text, node)
    path = path.removeprefix(".")
    head, is_one_of_many, rest = path.partition(_ANY)
    if is_one_of_many:
        rest = rest.rpartition(_ANY)[2].removeprefix(".")
        return FieldProblem(head, f"has a value whose `{rest}` {words}" if rest else f"has a value that {words}")
    return FieldProblem(path, f"has a name that {words}" if is_key else words)


def _not_json(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8 at byte {error.start}"
    if isinstance(error, RecursionError):
        return "is nested too deep"
    found = _MALFORMED.fullmatch(str(error))
    return f"is not JSON: {found[1]} at byte {found[2]}" if found else "is not JSON: it ends too early"


def _words(text: str, node: _Node) -> str:
    for pattern, words in _SENTENCES:
        if found := pattern.fullmatch(text):
            return words(found, node)
    return "is not valid"


def _unknown(name: str, node: _Node) -> str:
    known = [field.encode_name for one in node.alternatives() for field in getattr(one, "fields", ())]
    known = [field for field in known if field.isidentifier()]
    if close := difflib.get_close_matches(name, known, 1):
        return f"does not exist; did you mean `{close[0]}`?"
    return f"does not exist; known are {', '.join(known)}" if 0 < len(known) <= _FEW else "does not exist"


def _bound(found: re.Match[str], _: _Node) -> str:
    number = f"{int(found[2]):,}" if found[2].lstrip("-").isdigit() else found[2]
    return f"must be {_BOUNDS[found[1]]} {number}"


def _length(found: re.Match[str], _: _Node) -> str:
    kind, bound, number = found[1], found[2], int(found[3])
    if bound == ">=" and number == 1:
        return "is empty"
    if kind in ("str", "bytes"):
        return f"is {'shorter' if bound == '>=' else 'longer'} than {number:,} {_UNITS[kind]}"
    return f"must have {_BOUNDS[bound]} {number:,} {_UNITS[kind]}"


def _expected(found: re.Match[str], _: _Node) -> str:
    kinds = [_KINDS.get(kind, kind) for kind in found[1].split(" | ") if kind != "null" or found[1] == "null"]
    got = "" if found[2] is None else f", found {_KINDS.get(found[2], found[2])}"
    return f"must be {' or '.join(dict.fromkeys(kinds))}{got}"


def _choice(_: re.Match[str], node: _Node) -> str:
    allowed = sorted(map(str, node.values()))
    return f"must be one of {', '.join(allowed)}" if allowed else "is none of the allowed values"


def _pattern(found: re.Match[str], node: _Node) -> str:
    return f"must be {node.description}" if node.description else f"does not match {found[1]}"


#: The decoder's messages, and what they say.
_SENTENCES: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str], _Node], str]], ...]] = (
    (re.compile(r"Expected `(str|bytes|array|object)` of length (>=|<=) (\d+)"), _length),
    (re.compile(r"Expected `(?:int|float)` (>=|<=|>|<) (.*)"), _bound),
    (re.compile(r"Expected `int` that's a multiple of (.*)"), lambda found, _: f"must be a multiple of {found[1]}"),
    (re.compile(r"Expected `str` matching regex (.*)", re.DOTALL), _pattern),
    (
        re.compile(r"Expected `array` of ((?:at least |at most )?)length (\d+|\d+ to \d+)(?:, got \d+)?"),
        lambda found, _: f"must have {found[1]}{found[2]} entries",
    ),
    (re.compile(r"Expected `datetime` with a timezone component"), lambda *_: f"must be {_A_TIME}"),
    (re.compile(r"Expected `([^`]*)`(?:, got `([^`]*)`)?"), _expected),
    (re.compile(r"Invalid (?:enum )?value .*", re.DOTALL), _choice),
    (
        re.compile(r"Invalid (?:RFC3339 encoded datetime|epoch timestamp)|Timestamp is out of range ?"),
        lambda *_: f"must be {_A_TIME}",
    ),
    (
        re.compile(r"(?:Integer value|Number|Duration is|Duration) ?out of range"),
        lambda *_: "is too large for a number",
    ),
    (re.compile(r"Invalid base64 encoded string"), lambda *_: "must be base64"),
    (
        re.compile(r"Invalid ISO8601 duration|Only units .* ISO8601 durations"),
        lambda *_: "must be a duration, as PT30S",
    ),
)


class _Node(NamedTuple):
    """The type of a field, and the words of its `msgspec.Meta(description=…)`."""

    kind: inspect.Type | None
    description: str = ""

    def alternatives(self) -> Iterator[inspect.Type]:
        """The type, or those of a union."""
        if isinstance(self.kind, inspect.UnionType):
            for one in self.kind.types:
                yield from _unwrapped(one).alternatives()
        elif self.kind is not None:
            yield self.kind

    def values(self) -> Iterator[Any]:
        """All values of an enumeration."""
        for one in self.alternatives():
            if isinstance(one, inspect.LiteralType):
                yield from one.values
            elif isinstance(one, inspect.EnumType):
                yield from (member.value for member in one.cls)


def _node(kind: Any, path: str, is_key: bool) -> _Node:
    """The type at this place of a value of the type `kind`; without a type if it is not known."""
    node = (
        _Node(None)
        if kind is None
        else _unwrapped(_type_info(kind) if isinstance(kind, type) else inspect.type_info(kind))
    )
    for name, index in _STEP.findall(path):
        node = next(filter(None, (_step(one, name, index) for one in node.alternatives())), _Node(None))
    if is_key:
        keys = (one.key_type for one in node.alternatives() if isinstance(one, inspect.DictType))
        node = next(map(_unwrapped, keys), _Node(None))
    return node


@cache
def _type_info(kind: type) -> inspect.Type:
    return inspect.type_info(kind)


def _unwrapped(kind: inspect.Type) -> _Node:
    description = ""
    while isinstance(kind, inspect.Metadata):
        description = description or (kind.extra_json_schema or {}).get("description", "")
        kind = kind.type
    return _Node(kind, description)


def _step(kind: inspect.Type, name: str, index: str) -> _Node | None:
    """The type of a field of `kind`, or of an entry."""
    if name:
        fields = getattr(kind, "fields", ())
        return next((_unwrapped(field.type) for field in fields if field.encode_name == name), None)
    if isinstance(kind, inspect.DictType):
        return _unwrapped(kind.value_type)
    if isinstance(kind, inspect.TupleType):
        return (
            _unwrapped(kind.item_types[int(index)]) if index.isdigit() and int(index) < len(kind.item_types) else None
        )
    entry = getattr(kind, "item_type", None)
    return None if entry is None else _unwrapped(entry)
