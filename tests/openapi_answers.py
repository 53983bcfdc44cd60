"""Compares an answer of a server with its OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator

from devtools.contracts import FOLDER


@cache
def document(name: str) -> dict[str, Any]:
    """A document of docs/contracts in which no answer has a field that is not described."""
    found: dict[str, Any] = _closed(orjson.loads((FOLDER / f"openapi.{name}.json").read_bytes()))
    return found


def problems(name: str, method: str, path: str, status: int, media: str, body: bytes) -> list[str]:
    """What of an answer is not as the document `name` says.

    Args:
        path: without a query.
        media: the content type without its parameters.
    """
    found = document(name)
    response = _operation(found, method, path)["responses"].get(str(status))
    if response is None:
        return [f"{method} {path}: the status {status} is not described: {body[:200]!r}"]
    content = response.get("content", {})
    if media not in content:
        return [f"{method} {path}: {status} has {media}, not one of {', '.join(content)}"]
    if media != "application/json":
        return []
    schema = content[media]["schema"] | {"components": found["components"]}
    faults = Draft202012Validator(schema).iter_errors(orjson.loads(body))
    return [f"{method} {path}: {fault.json_path}: {fault.message[:300]}" for fault in faults]


def _operation(found: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    templates = sorted(found["paths"], key=lambda one: "{" in one)
    (matching, *_) = (one for one in templates if re.fullmatch(_pattern(one), path))
    operation: dict[str, Any] = found["paths"][matching][method.lower()]
    return operation


def _pattern(template: str) -> str:
    return re.sub(r"\{\w+\}", "[^/]+", template.replace("{trigger_id}", ".+"))


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _closed(value) for name, value in schema.items()}
    return {"additionalProperties": False, **made} if made.get("type") == "object" and "properties" in made else made


def routes(name: str) -> Iterator[tuple[str, str]]:
    """Method and path of each operation."""
    for path, methods in document(name)["paths"].items():
        for method in methods:
            yield method.upper(), path
