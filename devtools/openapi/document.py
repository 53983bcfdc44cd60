"""Makes an OpenAPI 3.1 document of the operations of a server.

https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from devtools.openapi.answers import ErrorAnswer
from devtools.openapi.operation import JSON, PAGE, Answer
from notify_streams import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from devtools.openapi.operation import Content, Kind, Operation, Paths

_REF: Final = "#/components/schemas/{name}"
_IN_PATH: Final = re.compile(r"\{(\w+)\}")
RETRY_AFTER: Final = {"Retry-After": "seconds"}


@dataclass(frozen=True, slots=True)
class Server:
    """One server and all that it serves.

    Args:
        path_parameters: name → description, of those that appear in `paths`.
        security_schemes: as OpenAPI writes them.
        has_pages: errors are pages for a browser.
    """

    title: str
    description: str
    paths: Paths
    path_parameters: Mapping[str, str]
    security_schemes: Mapping[str, Mapping[str, Any]]
    has_pages: bool = False

    def answers_of(self, operation: Operation) -> dict[int, Answer]:
        """Those of the operation, and those that every operation of this server has."""
        error: Content = {JSON: ErrorAnswer, **(PAGE if self.has_pages else {})}
        found = {
            500: Answer("An internal error; the worker's log has it.", error),
            503: Answer(
                "A store or service does not answer, or the request took too long. Send it again.", error, RETRY_AFTER
            ),
        }
        if operation.body:
            found[413] = Answer("The body is too long.", {**error, "text/plain": str})
        if "bearer" in {self.security_schemes[name].get("scheme") for name in operation.security}:
            headers = {"WWW-Authenticate": 'Bearer realm="notify-streams"'}
            found[401] = Answer("The token is missing or wrong.", error, headers)
            found[403] = Answer(
                "No token is configured for this view, or a change with a session comes from another page.", error
            )
        return dict(sorted({**found, **operation.answers}.items()))

    def document(self) -> dict[str, Any]:
        """The document. The schemas are under `components`, once each."""
        schemas = _Schemas(self._kinds())
        return {
            "openapi": "3.1.1",
            "info": {"title": self.title, "version": __version__, "description": self.description},
            "servers": [{"url": "/"}],
            "paths": {
                path: {method: self._operation(path, method, one, schemas) for method, one in methods.items()}
                for path, methods in self.paths.items()
            },
            "components": {"schemas": schemas.components}
            | ({"securitySchemes": dict(self.security_schemes)} if self.security_schemes else {}),
        }

    def _operation(self, path: str, method: str, operation: Operation, schemas: _Schemas) -> dict[str, Any]:
        in_path = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": self.path_parameters[name],
                "schema": {"type": "string"},
            }
            for name in _IN_PATH.findall(path)
        ]
        others = [
            {
                "name": one.name,
                "in": one.place,
                "required": one.required,
                "description": one.text,
                "schema": schemas.of(one.kind),
            }
            for one in operation.parameters
        ]
        made: dict[str, Any] = {
            "operationId": "_".join([method, *re.findall(r"[a-z]\w*", path)]) if path != "/" else f"{method}_root",
            "summary": operation.summary,
        }
        if operation.text:
            made["description"] = operation.text
        if in_path or others:
            made["parameters"] = [*in_path, *others]
        if operation.body:
            made["requestBody"] = {"required": True, "content": schemas.content(operation.body)}
        made["responses"] = {
            str(status): _response(answer, schemas) for status, answer in self.answers_of(operation).items()
        }
        made["security"] = [{name: []} for name in operation.security]
        return made

    def _kinds(self) -> Iterable[Kind]:
        for methods in self.paths.values():
            for operation in methods.values():
                yield from (one.kind for one in operation.parameters)
                contents = [operation.body, *(one.content for one in self.answers_of(operation).values())]
                yield from (kind for content in contents for kinds in content.values() for kind in _each(kinds))


class _Schemas:
    """The schemas of some kinds."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._kinds = list(dict.fromkeys(kinds))
        made, self.components = msgspec.json.schema_components(self._kinds, ref_template=_REF)
        self._schemas = dict(zip(self._kinds, made, strict=True))
        for one in self.components.values():
            one.pop("title", None)

    def of(self, kind: Kind) -> dict[str, Any]:
        found = [dict(self._schemas[one]) for one in _each(kind)]
        return found[0] if len(found) == 1 else {"anyOf": found}

    def content(self, content: Content) -> dict[str, Any]:
        return {media: {"schema": self.of(kind)} for media, kind in content.items()}


def _each(kind: Kind) -> tuple[Kind, ...]:
    return kind if isinstance(kind, tuple) else (kind,)


def _response(answer: Answer, schemas: _Schemas) -> dict[str, Any]:
    made: dict[str, Any] = {"description": answer.text}
    if answer.headers:
        made["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in answer.headers.items()
        }
    if answer.content:
        made["content"] = schemas.content(answer.content)
    return made
