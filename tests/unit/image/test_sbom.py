"""The list of what the image holds: valid CycloneDX, and exactly the lock."""

import json
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from devtools.locked_files import pins
from devtools.sbom import problem, sbom
from devtools.stack.paths import PROJECT
from notify_streams import __version__


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return sbom()


def test_it_is_valid_by_the_schema_of_cyclonedx(document: dict[str, Any]) -> None:
    assert problem(document) is None
    without_name = [{"type": "library"}]
    assert "name" in (problem(document | {"components": without_name}) or "")


def test_its_components_are_the_pins_of_the_image_and_no_others(document: dict[str, Any]) -> None:
    locked = pins((PROJECT / "requirements-runtime.lock").read_text())
    # The Dockerfile removes it.
    del locked[canonicalize_name("setuptools")]
    assert {canonicalize_name(one["name"]): one["version"] for one in document["components"]} == locked
    assert len(document["components"]) == len(locked)
    for one in document["components"]:
        assert one["purl"] == f"pkg:pypi/{canonicalize_name(one['name'])}@{one['version']}"
        assert one["licenses"], f"no licence of {one['name']}"


def test_it_says_of_what_program_it_is_and_what_needs_what(document: dict[str, Any]) -> None:
    product = document["metadata"]["component"]
    assert (product["name"], product["version"], product["type"]) == ("notify-streams", __version__, "application")
    needs = {one["ref"]: one["dependsOn"] for one in document["dependencies"]}
    assert {*needs} == {product["bom-ref"], *(one["bom-ref"] for one in document["components"])}
    assert "faust-streaming==0.15.3" in needs[product["bom-ref"]]
    assert {ref for refs in needs.values() for ref in refs} <= {*needs}


def test_it_names_no_folder_of_the_machine_that_made_it(document: dict[str, Any]) -> None:
    assert "file://" not in json.dumps(document)
