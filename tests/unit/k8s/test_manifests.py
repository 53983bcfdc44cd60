"""The files of k8s/base by themselves, without kustomize: whole documents, and Deployments with what is laid over all of them."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import yaml
from kubernetes_validate import ValidationError  # type: ignore[import-untyped]

from devtools.stack.paths import PROJECT
from notify_streams.roles import ROLES

Document = dict[str, Any]

BASE = PROJECT / "k8s" / "base"
KUSTOMIZATION: Document = yaml.safe_load((BASE / "kustomization.yaml").read_text())
PATCHES = {patch["path"] for patch in KUSTOMIZATION["patches"]}
WHOLE = [document for name in KUSTOMIZATION["resources"] for document in yaml.safe_load_all((BASE / name).read_text())]
DEPLOYMENTS = [document for document in WHOLE if document["kind"] == "Deployment"]


def laid_over(below: Any, above: Any) -> Any:
    """The part of a strategic merge that these patches use: maps by key, lists of named things by name, else the patch's value."""
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: laid_over(below[key], value) if key in below else value for key, value in above.items()}
    if isinstance(below, list) and isinstance(above, list) and all("name" in one for one in below + above):
        return list(laid_over({one["name"]: one for one in below}, {one["name"]: one for one in above}).values())
    return above


def name_of(document: Document) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


def test_every_file_of_the_base_is_used() -> None:
    files = {file.name for file in BASE.iterdir()} - {"kustomization.yaml"}
    assert files == {*KUSTOMIZATION["resources"]} | PATCHES


@pytest.mark.parametrize("document", WHOLE, ids=name_of)
def test_kubernetes_knows_every_field_of_a_document(document: Document, validate: Callable[[Document], object]) -> None:
    validate(document)


@pytest.mark.parametrize("document", DEPLOYMENTS, ids=name_of)
def test_kubernetes_knows_every_field_that_is_laid_over_it(
    document: Document, validate: Callable[[Document], object]
) -> None:
    for patch in sorted(PATCHES):
        validate(laid_over(document, yaml.safe_load((BASE / patch).read_text())))


def test_a_misspelt_field_is_refused(validate: Callable[[Document], object]) -> None:
    document = deepcopy(DEPLOYMENTS[0])
    document["spec"]["template"]["spec"]["terminationGracePeriodSecond"] = 40
    with pytest.raises(ValidationError, match="terminationGracePeriodSecond"):
        validate(document)


def test_each_role_has_exactly_one_deployment() -> None:
    roles = [document["spec"]["template"]["metadata"]["labels"]["notify-streams/role"] for document in DEPLOYMENTS]
    assert sorted(roles) == sorted(ROLES)
    assert [document["metadata"]["name"] for document in DEPLOYMENTS] == [role.replace("_", "-") for role in roles]
    assert [document["spec"]["selector"]["matchLabels"]["notify-streams/role"] for document in DEPLOYMENTS] == roles
