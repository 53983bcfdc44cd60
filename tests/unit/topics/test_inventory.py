"""What a deployment has of this version is written down, so that no version changes it in silence."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Final

from devtools.stack.paths import PROJECT
from notify_streams import __version__
from notify_streams.admin.shards.init import indexes
from notify_streams.roles import ROLES, VIEWS, WEBHOOKS, app_id
from notify_streams.settings import EdgePopSettings, Settings
from notify_streams.stores import mongo
from notify_streams.topics import all_topics
from tests.unit.architecture.source_tree import module_files

UPGRADES: Final = PROJECT / "docs" / "upgrades.md"
_BEGIN, _END = "<!-- inventory -->\n```text\n", "```\n<!-- end -->"
#: How the code names a collection, by a constant: `database(shard)[NAME]`, `collection(NAME, bucket)`.
_COLLECTION: Final = re.compile(r"(?:database(?:\([^()]*(?:\([^()]*\))?[^()]*\))?\[|\.collection\()(_?[A-Z][A-Z_]+)\b")


def inventory() -> str:
    """A line for each topic, collection and consumer group, as the code has them."""
    return "\n".join([*topic_lines(), *collection_lines(), *group_lines(), ""])


def some_region() -> Settings:
    return Settings(
        region="us",
        kafka="none",
        redis="none",
        shards=("mongodb://none",),
        regions=("us", "<region>"),
        trigger_systems=("<system>",),
        edge=(EdgePopSettings("<pop>", "https://none"),),
    )


def topic_lines() -> list[str]:
    return sorted(
        f"topic {spec.name} {'one partition' if spec.partitions == 1 else 'buckets'} "
        + " ".join(f"{name}={value}" for name, value in sorted(spec.config.items()))
        for spec in all_topics(some_region())
    )


def collection_lines() -> list[str]:
    lines = []
    made = indexes(some_region())
    for name in sorted(collections_in_code() | made.keys()):
        shown = [
            ",".join(field for field, _ in one.keys) + ("" if one.expire_after_s is None else " (expires)")
            for one in made.get(name, ())
        ]
        lines.append(" ".join([f"collection {name}", *(f"index {one}" for one in shown)]))
    return lines


def collections_in_code() -> set[str]:
    """The values of the constants by which the product names collections."""
    found: set[str] = set()
    for name, file in module_files().items():
        if name.startswith("notify_streams."):
            # A verb imports it within its function.
            for constant in _COLLECTION.findall(file.read_text()):
                found.add(getattr(importlib.import_module(name), constant, None) or getattr(mongo, constant))
    return found


def group_lines() -> list[str]:
    return [
        f"application {app_id('<region>', role)}" + ("" if role in (VIEWS, WEBHOOKS) else ", a consumer group")
        for role in ROLES
    ]


def test_the_inventory_in_the_upgrade_notes_is_that_of_the_code() -> None:
    written = UPGRADES.read_text().partition(_BEGIN)[2].partition(_END)[0]
    found = inventory()
    new = sorted(set(found.splitlines()) - set(written.splitlines()))
    gone = sorted(set(written.splitlines()) - set(found.splitlines()))
    assert found == written, f"say in docs/upgrades.md what changes, and correct its inventory: new {new}, gone {gone}"


def test_every_name_of_the_inventory_has_a_line_in_the_notes_of_the_version() -> None:
    """A line of a table that begins with the name: what the change asks of an operator."""
    notes = section_of(UPGRADES, __version__)
    names = {line.split()[1].rstrip(",") for line in inventory().splitlines()}
    listed = set(
        re.findall(r"`([^`]+)`", "".join(line.split("|")[1] for line in notes.splitlines() if line[:1] == "|"))
    )
    assert names - listed == set()


def section_of(file: Path, version: str) -> str:
    found = re.search(rf"^## {re.escape(version)}\b.*?(?=^## |\Z)", file.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{file.name} has no section {version}"
    return found[0]
