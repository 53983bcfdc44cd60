"""A pod as its process sees it: environment, files of Secrets, settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from notify_streams.settings import Settings, load_settings

Document = dict[str, Any]

#: Secret → what it may hold, as an operator would write it.
SECRETS = {
    "notify-streams": {"redis_security.password": "of-redis\n", "public.address_key": "0" * 32},
    "notify-streams-providers": {"providers.fcm_service_account": "{}"},
    "notify-streams-views": {
        "web_read_token": "a-token-that-reads\n",
        "web_write_token": "a-token-that-writes",
        "web_edge_token": "a-token-of-the-edge",
    },
    "notify-streams-registry": {"edge": '[{name: fra, url: "https://fra.example", kind: http, token: t}]'},
}
POD_IP = "10.244.1.7"


def pod(document: Document) -> Document:
    found: Document = document["spec"]["template"]["spec"]
    return found


def environment(documents: list[Document], container: Document, labels: Document) -> dict[str, str]:
    """What the process would see: ConfigMaps, the pod's own labels, its name and its address."""
    maps = {one["metadata"]["name"]: one["data"] for one in documents if one["kind"] == "ConfigMap"}
    seen: dict[str, str] = {}
    for source in container["envFrom"]:
        seen |= maps[source["configMapRef"]["name"]]
    for variable in container.get("env", ()):
        if (source := variable.get("valueFrom")) is None:
            seen[variable["name"]] = variable["value"]
        elif (path := source["fieldRef"]["fieldPath"]) == "metadata.name":
            seen[variable["name"]] = "standard-0"
        elif path == "status.podIP":
            seen[variable["name"]] = POD_IP
        else:
            seen[variable["name"]] = labels[path.split("'")[1]]
    return seen


def write_secrets(document: Document, folder: Path, secrets: dict[str, dict[str, str]]) -> None:
    """The volume `secrets` of a pod, as files."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (volume,) = (volume for volume in pod(document)["volumes"] if volume["name"] == "secrets")
    for source in volume["projected"]["sources"]:
        name = source["secret"]["name"]
        assert name in secrets or source["secret"].get("optional"), f"{name}: the pod would not start"
        found = secrets.get(name, {})
        for item in source["secret"].get("items", [{"key": key, "path": key} for key in found]):
            (folder / item["path"]).write_text(found[item["key"]])


def settings_of(
    documents: list[Document], document: Document, folder: Path, secrets: dict[str, dict[str, str]]
) -> tuple[Settings, str]:
    """The settings and the role of a pod whose volume `settings` is written to `folder`, and `secrets` to a folder in it."""
    maps = {one["metadata"]["name"]: one["data"] for one in documents if one["kind"] == "ConfigMap"}
    (volume,) = (volume for volume in pod(document)["volumes"] if volume["name"] == "settings")
    for source in volume["projected"]["sources"]:
        for name, text in maps[source["configMap"]["name"]].items():
            if not (folder / name).exists():
                (folder / name).write_text(text)
    container = pod(document)["containers"][0]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    seen = environment(documents, container, document["spec"]["template"]["metadata"]["labels"])
    assert seen["NOTIFY_CONFIG_DIR"] == mounts["settings"]
    assert seen["NOTIFY_SECRETS_DIR"] == mounts["secrets"]
    write_secrets(document, folder / "secrets", secrets)
    seen["NOTIFY_SECRETS_DIR"] = str(folder / "secrets")
    return load_settings(seen["NOTIFY_REGION"], environ=seen, config_dir=folder), seen.get("NOTIFY_ROLE", "")
