"""What the image installs from PyPI, as a CycloneDX document (`make sbom`).

Names, licences and dependencies are read from this environment, which has all of `requirements-runtime.lock` and more; the rest is left out.
The interpreter and the system's packages belong to the base image and are not in it.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from devtools.locked_files import pins
from devtools.stack.paths import PROJECT
from devtools.subprocesses import python_module

#: The Dockerfile removes it when everything is built.
BUILD_ONLY: Final = frozenset({"setuptools"})
#: Of packages whose metadata name the licence in words that the tool does not know (SPDX).
_LICENCES: Final = {"protobuf": "BSD-3-Clause"}


class WrongEnvironment(Exception):
    """This environment is not that of the lock: run `make check`, which installs it."""


def image_pins() -> dict[str, str]:
    """Name → version of what the production image holds."""
    locked = pins((PROJECT / "requirements-runtime.lock").read_text())
    return {name: version for name, version in locked.items() if name not in BUILD_ONLY}


def sbom() -> dict[str, Any]:
    """The document, made from what `cyclonedx-py` says of this environment. The same input gives the same bytes.

    Raises:
        WrongEnvironment: a package of the lock is missing here or has another version.
    """
    command = python_module("cyclonedx_py", "environment", "--no-validate", "--output-reproducible", sys.executable)
    document: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)
    wanted = image_pins()
    by_name = {canonicalize_name(one["name"]): one for one in document["components"]}
    for name, version in wanted.items():
        if (found := by_name.get(canonicalize_name(name), {}).get("version")) != version:
            raise WrongEnvironment(f"{name} is {found or 'not installed'}, the lock has {version}")
    product = by_name[canonicalize_name("notify-streams")]
    # The folder of the checkout.
    del product["externalReferences"]
    kept = {by_name[canonicalize_name(name)]["bom-ref"] for name in wanted} | {product["bom-ref"]}
    document["metadata"]["component"] = product | {"type": "application"}
    document["components"] = [one for one in document["components"] if one["bom-ref"] in kept and one is not product]
    for one in document["components"]:
        if (licence := _LICENCES.get(one["name"])) is not None:
            one.setdefault("licenses", [{"license": {"id": licence}}])
    document["dependencies"] = [
        one | {"dependsOn": sorted(kept & {*one.get("dependsOn", ())})}
        for one in document["dependencies"]
        if one["ref"] in kept
    ]
    return document


def problem(document: dict[str, Any]) -> str | None:
    """What the JSON schema of the document's version of CycloneDX forbids in it; None: nothing."""
    found = JsonStrictValidator(SchemaVersion.from_version(document["specVersion"])).validate_str(json.dumps(document))
    return None if found is None else str(found)


if __name__ == "__main__":
    document = sbom()
    if invalid := problem(document):
        raise SystemExit(f"the document is not valid CycloneDX: {invalid}")
    Path(sys.argv[1]).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
