"""The ecosystem's validator accepts the OpenAPI documents."""

from typing import Any

import orjson
import pytest
from openapi_spec_validator import validate
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

from devtools.contracts import FOLDER
from devtools.openapi import SERVERS


def read(name: str) -> Any:
    return orjson.loads((FOLDER / name).read_bytes())


@pytest.mark.parametrize("name", SERVERS)
def test_the_validator_accepts_a_document(name: str) -> None:
    validate(read(name))


def test_the_validator_finds_a_fault() -> None:
    broken = read("openapi.worker.json")
    del broken["paths"]["/lag"]["get"]["responses"]["200"]["description"]
    with pytest.raises(OpenAPIValidationError):
        validate(broken)


@pytest.mark.parametrize("name", SERVERS)
def test_what_a_document_names_is_used(name: str) -> None:
    server = SERVERS[name]
    operations = [one for methods in server.paths.values() for one in methods.values()]
    assert {scheme for one in operations for scheme in one.security} == set(server.security_schemes)
    assert {one for one in server.path_parameters if any(f"{{{one}}}" in path for path in server.paths)} == set(
        server.path_parameters
    )
