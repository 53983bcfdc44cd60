"""What Kubernetes would get: the files of k8s/ one by one, and each overlay as kustomize builds it.

kustomize is a Go program (`scripts/kustomize`). On a laptop without it, what wants a build is skipped; in CI that is a failure.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate.utils  # type: ignore[import-untyped]
import pytest
import yaml

from devtools.stack.paths import PROJECT

Document = dict[str, Any]
Build = Callable[[Path], list[Document]]

KUBERNETES = "1.34.0"
REGIONS = ("us", "eu", "asia")


@pytest.fixture(scope="session")
def validate() -> Iterator[Callable[[Document], object]]:
    """Raises unless Kubernetes knows every field."""
    with pytest.MonkeyPatch.context() as patch:
        # Or it reads all of its schemas again for each document.
        patch.setattr(kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents))
        yield lambda document: kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.fixture(scope="session")
def build() -> Build:
    """A kustomization's folder -> the documents that it becomes."""
    program = _kustomize()
    if program is None:
        sentence = (
            "no kustomize 5 here: the overlays of k8s/ were not built (scripts/kustomize installs it where there is Go)"
        )
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)

    def built(folder: Path) -> list[Document]:
        done = subprocess.run([*program, str(folder)], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, f"kustomize warns: {done.stderr}"
        return list(yaml.safe_load_all(done.stdout))

    return built


@pytest.fixture(scope="session")
def region_build(build: Build) -> Callable[[str], list[Document]]:
    """A region -> its overlay's documents; not to be changed."""
    return cache(lambda region: build(PROJECT / "k8s" / "overlays" / region))


@pytest.fixture(scope="session")
def build_with(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Document]]:
    """A region and components, in order, above `components/region` -> the documents; not to be changed."""
    work = tmp_path_factory.mktemp("manifests")
    for folder in ("k8s", "config"):
        shutil.copytree(PROJECT / folder, work / folder)

    @cache
    def built(region: str, *components: str) -> list[Document]:
        file = work / "k8s" / "overlays" / region / "kustomization.yaml"
        plain = file.read_text()
        listed = "".join(f"  - ../../components/{name}\n" for name in (*components, "region"))
        file.write_text(plain.replace("  - ../../components/region\n", listed))
        try:
            return build(file.parent)
        finally:
            file.write_text(plain)

    return built


@pytest.fixture(params=REGIONS)
def region(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def documents(region: str, region_build: Callable[[str], list[Document]]) -> list[Document]:
    """What the overlay of `region` becomes."""
    return region_build(region)


@pytest.fixture
def workers(documents: list[Document]) -> dict[str, Document]:
    """role -> its Deployment."""
    return {
        document["spec"]["template"]["metadata"]["labels"]["notify-streams/role"]: document
        for document in documents
        if document["kind"] == "Deployment"
    }


def _kustomize() -> Sequence[str] | None:
    places = os.pathsep.join((str(PROJECT / ".cache" / "bin"), os.environ.get("PATH", "")))
    if found := shutil.which("kustomize", path=places):
        return (found, "build")
    if found := shutil.which("kubectl"):
        version = subprocess.run(
            (found, "version", "--client", "--output=json"), capture_output=True, check=False, timeout=30
        )
        if version.returncode == 0 and json.loads(version.stdout).get("kustomizeVersion", "").startswith("v5"):
            return (found, "kustomize")
    return None
