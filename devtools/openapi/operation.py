"""What the OpenAPI documents say of one operation.

A `Kind` is anything that msgspec makes a JSON Schema of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Kind = Any
#: Media type → kind. A tuple of kinds: one of them.
Content = Mapping[str, Kind]
#: Path → method in small letters → operation.
Paths = Mapping[str, Mapping[str, "Operation"]]

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
PAGE: Final[Content] = {"text/html": str}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query, or a header. Those of the path are taken from the path."""

    name: str
    text: str
    kind: Kind = str
    place: Literal["query", "header"] = "query"
    required: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A response with one status. `headers`: name → description."""

    text: str
    content: Content = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Args:
        answers: status → answer, without those that every operation of a document has.
        security: names of security schemes, of which one must hold; empty: none.
    """

    summary: str
    answers: Mapping[int, Answer]
    parameters: Sequence[Parameter] = ()
    body: Content = field(default_factory=dict)
    security: Sequence[str] = ()
    text: str = ""


def of_json(text: str, kind: Kind, *, page: bool = False) -> Answer:
    """An answer in JSON; `page`: a page for ``Accept: text/html``."""
    return Answer(text, {JSON: kind, **(PAGE if page else {})})


def of_page(text: str) -> Answer:
    return Answer(text, PAGE)


def redirect(text: str) -> Answer:
    return Answer(text, PAGE, {"Location": "the path to open next"})
