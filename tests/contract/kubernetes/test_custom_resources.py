"""Custom resources of k8s/ against models of their operators: Strimzi's Java model (Maven), External Secrets' schemas (npm)."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devtools.npm import node, packages
from devtools.stack.java_classes import compiled
from devtools.stack.maven import jars, java
from devtools.stack.paths import PROJECT

Document = dict[str, Any]
#: What is wrong with a document, one line each.
Faults = Callable[[list[Document]], list[str]]

STRIMZI = "kafka.strimzi.io/v1"
EXTERNAL_SECRETS = "external-secrets.io/v1"
_JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
_MODULES = "@kubernetes-models/external-secrets/_schemas/ComGithubExternalSecretsExternalSecretsApisExternalsecretsV1"
_SCRIPT = """
import {{validate}} from {module};
for (const spec of {specs}) console.log(validate(spec) ? "" : JSON.stringify(validate.errors));
"""


def written(group: str) -> list[Document]:
    """All resources of an API group in k8s/."""
    found = [
        document
        for file in sorted((PROJECT / "k8s").rglob("*.yaml"))
        for document in yaml.safe_load_all(file.read_text())
        if isinstance(document, dict) and document.get("apiVersion") == group
    ]
    assert found
    return found


def strimzi_faults(documents: list[Document]) -> list[str]:
    libraries = jars("strimzi")
    classes = compiled(Path(__file__).with_name("StrimziManifests.java"), libraries)
    done = subprocess.run(
        [java(), *_JVM, "-cp", f"{libraries}{os.sep}*{os.pathsep}{classes}", "StrimziManifests"],
        input=json.dumps(documents),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *faults, last = done.stdout.splitlines()
    assert last == "read"
    return faults


def external_secrets_faults(documents: list[Document]) -> list[str]:
    modules = packages() / "node_modules"
    specs = [document["spec"] for document in documents]
    module = json.dumps((modules / f"{_MODULES}ExternalSecretSpec.js").as_uri())
    done = subprocess.run(
        [node(), "--input-type=module", "--eval", _SCRIPT.format(module=module, specs=json.dumps(specs))],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    # The schemas allow further fields, as those of a cluster do not: a field must be in one of the modules by name.
    text = "".join(file.read_text() for file in (modules / _MODULES).parent.glob(f"{Path(_MODULES).name}*.js"))
    known = set(re.findall(r'instancePath\+"/(\w+)"', text))
    return [fault for fault in done.stdout.splitlines() if fault] + sorted({*_keys(specs)} - known)


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


@pytest.mark.parametrize(
    ("group", "faults"),
    [(STRIMZI, strimzi_faults), (EXTERNAL_SECRETS, external_secrets_faults)],
    ids=["Strimzi", "External Secrets"],
)
def test_the_operator_s_model_knows_every_field(group: str, faults: Faults) -> None:
    documents = written(group)
    assert {one["kind"] for one in documents} == (
        {"Kafka", "KafkaNodePool", "KafkaTopic", "KafkaUser"} if group == STRIMZI else {"ExternalSecret"}
    )
    assert faults(documents) == []


def test_a_misspelt_field_and_a_wrong_value_are_found() -> None:
    head = {"apiVersion": STRIMZI, "metadata": {"name": "x"}}
    documents = [
        {**head, "kind": "KafkaTopic", "spec": {"partition": 8}},
        {**head, "kind": "KafkaUser", "spec": {"authentication": {"type": "scram"}}},
        {**head, "kind": "Kafka", "spec": {"kafka": {"listeners": [{"name": "a", "port": "many"}]}}},
    ]
    assert [fault.split(":")[0] for fault in strimzi_faults(documents)] == ["KafkaTopic x", "KafkaUser x", "Kafka x"]
    wrong: list[Document] = [{"spec": {"target": {"creationPolicy": "Ownr"}}}, {"spec": {"refreshIntervall": "1h"}}]
    refused, unknown = external_secrets_faults(wrong)
    assert "/target/creationPolicy" in refused
    assert unknown == "refreshIntervall"
