"""Each overlay as kustomize builds it: valid, whole (every reference resolves), this region's and no other's."""

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from kubernetes_validate import ValidationError  # type: ignore[import-untyped]

from devtools.stack.paths import PROJECT
from notify_streams import __version__
from notify_streams.cli import main
from notify_streams.roles import ROLES
from notify_streams.templates.files import TemplateFiles

Document = dict[str, Any]
Build = Callable[[Path], list[Document]]

SECRET = "notify-streams"


def found(value: Any, key: str) -> Iterator[Any]:
    """Every value of `key`, at any depth."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from found(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from found(inner, key)


def names(documents: list[Document], kind: str) -> set[str]:
    return {document["metadata"]["name"] for document in documents if document["kind"] == kind}


def test_kubernetes_knows_every_field(documents: list[Document], validate: Callable[[Document], object]) -> None:
    for document in documents:
        validate(document)


def test_each_role_has_exactly_one_deployment(documents: list[Document]) -> None:
    roles = Counter(
        document["spec"]["template"]["metadata"]["labels"]["notify-streams/role"]
        for document in documents
        if document["kind"] == "Deployment"
    )
    assert roles == Counter(ROLES)


def test_a_field_misspelt_in_a_patch_is_refused(
    tmp_path: Path, build: Callable[[Path], list[Document]], validate: Callable[[Document], object]
) -> None:
    for folder in ("k8s", "config"):
        shutil.copytree(PROJECT / folder, tmp_path / folder)
    patch = tmp_path / "k8s" / "base" / "worker.yaml"
    patch.write_text(patch.read_text().replace("readinessProbe:", "readynessProbe:"))
    worker = next(one for one in build(tmp_path / "k8s" / "overlays" / "us") if one["kind"] == "Deployment")
    with pytest.raises(ValidationError, match="readynessProbe"):
        validate(worker)


def test_what_pods_refer_to_is_there(documents: list[Document]) -> None:
    maps = names(documents, "ConfigMap")
    assert {reference["name"] for key in ("configMap", "configMapRef") for reference in found(documents, key)} == maps
    assert {*found(documents, "serviceAccountName")} == names(documents, "ServiceAccount")
    assert {*found(documents, "priorityClassName")} == names(documents, "PriorityClass")
    for document in documents:
        assert document["kind"] in ("Namespace", "PriorityClass") or document["metadata"]["namespace"] == SECRET


def test_secrets_are_named_and_explained_but_never_here(documents: list[Document]) -> None:
    assert not names(documents, "Secret")
    explained = (PROJECT / "docs" / "deploy" / "kubernetes.md").read_text()
    named = {one["name"] for one in found(documents, "secret")}
    assert named == {SECRET, f"{SECRET}-providers", f"{SECRET}-views", f"{SECRET}-registry"}
    assert all(f"`{name}`" in explained for name in named)
    for text in (value for data in found(documents, "data") for value in data.values()):
        assert not re.search(r"://[^/\s]*:[^/\s]*@|_TOKEN=", text), "a URI with a password belongs in the Secret"


def test_another_regions_settings_are_not_mounted(documents: list[Document], region: str) -> None:
    files = [file for data in found(documents, "data") for file in data if file.endswith(".yaml")]
    assert sorted(files) == sorted(("categories.yaml", f"{region}.yaml"))
    written = {file: text for data in found(documents, "data") for file, text in data.items()}
    for file in files:
        assert written[file] == (PROJECT / "config" / file).read_text()


def test_every_text_is_mounted(documents: list[Document], tmp_path: Path) -> None:
    written = {
        file: text for data in found(documents, "data") for file, text in data.items() if file.startswith("templates.")
    }
    for file, text in written.items():
        (tmp_path / file).write_text(text)
    mounted, expected = TemplateFiles(tmp_path), TemplateFiles(PROJECT / "config")
    assert (mounted.texts, mounted.style_sheet) == (expected.texts, expected.style_sheet)


def test_every_image_is_this_version_s(documents: list[Document]) -> None:
    images = {*found(documents, "image")}
    assert len(images) == 1
    assert images.pop().endswith(f"/notify-streams:{__version__}")


def test_nothing_that_needs_topics_runs_before_everything_is_prepared(
    documents: list[Document], workers: dict[str, Document]
) -> None:
    job = next(document for document in documents if document["kind"] == "Job")
    (prepare,) = job["spec"]["template"]["spec"]["containers"]
    verbs = verbs_in(prepare["args"][0])
    assert verbs.index(("shards", "init")) < verbs.index(("topics", "ensure")), "topics say that all the rest is there"
    for worker in workers.values():
        (waits,) = worker["spec"]["template"]["spec"]["initContainers"]
        assert verbs_in(waits["args"][0]) == [("topics", "check")]
        assert "--for-start" in waits["args"][0], "another retention must keep no pod from starting"
        (works,) = worker["spec"]["template"]["spec"]["containers"]
        assert works["args"] == ["worker"]
    for verb in (("worker",), *verbs, ("topics", "check")):
        assert is_a_verb(verb)


def test_what_the_job_prepares_for_is_in_its_name_because_a_job_cannot_be_changed(
    tmp_path: Path, build: Build, region_build: Callable[[str], list[Document]]
) -> None:
    for folder in ("k8s", "config"):
        shutil.copytree(PROJECT / folder, tmp_path / folder)

    def job_after(*changes: tuple[str, str, str]) -> Document:
        kept = {file: (tmp_path / file).read_text() for file, _, _ in changes}
        for file, old, new in changes:
            assert old in kept[file]
            (tmp_path / file).write_text(kept[file].replace(old, new))
        (job,) = (one for one in build(tmp_path / "k8s" / "overlays" / "us") if one["kind"] == "Job")
        for file, text in kept.items():
            (tmp_path / file).write_text(text)
        return job

    (job,) = (one for one in region_build("us") if one["kind"] == "Job")
    made = [
        job_after(("config/us.yaml", "trigger_systems: [payments", "trigger_systems: [risk, payments")),
        job_after(("k8s/base/kustomization.yaml", __version__, "9.9.9")),
        job_after(("k8s/overlays/us/kustomization.yaml", "=us\n", "=us\n      - NOTIFY_REPLICATION=5\n")),
        job_after(("k8s/base/prepare.yaml", "topics ensure", "topics ensure --json")),
    ]
    names = [one["metadata"]["name"] for one in (job, *made)]
    assert len({*names}) == len(names)
    assert all(re.fullmatch("prepare-[a-z0-9]{10}", name) for name in names)
    not_of_the_job = [
        ("config/eu.yaml", "trigger_systems: [payments", "trigger_systems: [risk, payments"),
        ("config/categories.yaml", "ttl_s: 3600", "ttl_s: 7200"),
        ("k8s/base/critical.yaml", "replicas: 3", "replicas: 6"),
    ]
    assert job_after(*not_of_the_job) == job, "the same name with another content would be refused"


def test_argo_cd_and_flux_replace_the_job(documents: list[Document]) -> None:
    (job,) = (one for one in documents if one["kind"] == "Job")
    annotations = job["metadata"]["annotations"]
    # PreSync comes before the ConfigMaps that the Job mounts.
    assert annotations["argocd.argoproj.io/hook"] == "Sync"
    assert annotations["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"
    assert annotations["kustomize.toolkit.fluxcd.io/force"] == "enabled"
    assert job["spec"]["ttlSecondsAfterFinished"] >= 3600, "Flux would make it again at each reconciliation"


def verbs_in(script: str) -> list[tuple[str, ...]]:
    return [tuple(verb.split()) for verb in re.findall(r"notify-streams ([a-z]+ [a-z]+)", script)]


def is_a_verb(words: tuple[str, ...]) -> bool:
    command: click.Command | None = main
    for word in words:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    return command is not None
