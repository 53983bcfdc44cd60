"""Which files of `k8s/`, and which page, are generated, and their texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from devtools.kubernetes import secret_keys, size, strimzi
from devtools.stack.paths import PROJECT
from notify_streams.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

REGIONS: Final = ("us", "eu", "asia")
COMPONENTS: Final = PROJECT / "k8s" / "components"
_PAGE_HEAD: Final = "<!-- Written by `python -m devtools.kubernetes`; do not edit. -->\n"
_HEAD: Final = "# Written by `python -m devtools.kubernetes`; do not edit.\n"


def generated() -> dict[Path, str]:
    """File → its text, from `config/` and the code."""
    found = {
        COMPONENTS / "kafka-users" / "logins.yaml": strimzi.logins(),
        COMPONENTS / "kafka-users" / "operator.yaml": strimzi.operator_login(),
        COMPONENTS / "size-100m" / "roles.yaml": size.size(),
    }
    for region in REGIONS:
        settings = load_settings(region, environ={}, config_dir=PROJECT / "config")
        folder = COMPONENTS / f"strimzi-{region}"
        found |= {folder / "topics.yaml": strimzi.topics(settings), folder / "users.yaml": strimzi.users(settings)}
    pages = {PROJECT / "docs" / "deploy" / "secrets.md": f"{_PAGE_HEAD}{secret_keys.page()}"}
    return {file: _HEAD + text for file, text in found.items()} | pages
