"""Writes the contracts of docs/contracts: JSON Schema, AsyncAPI and OpenAPI.

`python -m devtools.contracts` writes them anew; a test compares them with the structs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from devtools.openapi import SERVERS
from devtools.stack.paths import PROJECT
from notify_streams import __version__
from notify_streams.delivery.receipts import Receipt
from notify_streams.records.notification_event import NotificationEvent
from notify_streams.records.trigger import Trigger
from notify_streams.records.user_records import Contacts, Erasure, PreferenceUpdate, Signup
from notify_streams.topics import PREFERENCE_UPDATES, RECEIPTS, USER_CONTACTS, USER_ERASURES, USER_SIGNUPS

FOLDER: Final = PROJECT / "docs" / "contracts"
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


def _readable(record: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The record as a client sees it: `data` is an object, and what no record sets is left out."""
    fields: list[Any] = []
    for field in msgspec.structs.fields(record):
        if field.encode_name.isidentifier():
            kind = dict[str, Any] | None if field.type is msgspec.Raw else field.type
            default = None if field.type is msgspec.Raw else field.default
            name = (field.encode_name, kind)
            fields.append(name if default is msgspec.NODEFAULT else (*name, default))
    made = msgspec.defstruct(record.__name__, fields, kw_only=True)
    made.__doc__ = record.__doc__
    return made


#: file → the record's struct as a client sees it
RECORDS: Final[dict[str, type[msgspec.Struct]]] = {
    "trigger": _readable(Trigger),
    "preference_update": PreferenceUpdate,
    "contacts": Contacts,
    "signup": Signup,
    "erasure": Erasure,
    "receipt": Receipt,
    "notification_event": NotificationEvent,
}


def schema(record: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema of a record, with all that it refers to under `$defs`.

    It says what a reader can say by types and bounds. docs/send/records.md has the rest: addresses, reserved names, times.
    """
    (found,), components = msgspec.json.schema_components([record], ref_template="#/$defs/{name}")
    own = components.pop(found["$ref"].rpartition("/")[2])
    for one in (own, *components.values()):
        one.pop("title", None)
        one["additionalProperties"] = True
    return {"$schema": _DRAFT, "title": record.__name__, **own, **({"$defs": components} if components else {})}


def asyncapi() -> dict[str, Any]:
    """AsyncAPI 3.0 of the topics that clients write or read."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}

    def add(name: str, address: str, record: str, action: str, summary: str, **parameters: str) -> None:
        channels[name] = {
            "address": address,
            "description": summary,
            "messages": {record: {"$ref": f"#/components/messages/{record}"}},
            "bindings": {"kafka": {"bindingVersion": "0.5.0"}},
        }
        if parameters:
            channels[name]["parameters"] = {key: {"description": text} for key, text in parameters.items()}
        operation = operations[f"{action}_{record}"] = {
            "channel": {"$ref": f"#/channels/{name}"},
            "summary": summary,
            "messages": [{"$ref": f"#/channels/{name}/messages/{record}"}],
        }
        operation["action"] = action

    system = "the name of the upstream system, one of the setting `trigger_systems`"
    add("triggers", "triggers.{system}", "trigger", "receive", "Requests to notify one user.", system=system)
    add("preference_updates", PREFERENCE_UPDATES, "preference_update", "receive", "One choice of one user.")
    add("user_contacts", USER_CONTACTS, "contacts", "receive", "How a user can be reached: the whole state.")
    add("user_signups", USER_SIGNUPS, "signup", "receive", "A user who signs up in, or moves to, a home region.")
    add("user_erasures", USER_ERASURES, "erasure", "receive", "A request to erase a person.")
    add("receipts", RECEIPTS, "receipt", "receive", "What a provider reports about a message that it accepted.")
    add(
        "notification_events",
        "notification_events.{system}",
        "notification_event",
        "send",
        "The end of each delivery and each dead trigger of a system.",
        system=system,
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "notify-streams: Kafka topics of a region",
            "version": __version__,
            "description": "The records that clients write and read. docs/send/records.md has the meaning of each field.",
            "tags": [{"name": "notifications"}],
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": {name: _message(name) for name in RECORDS}},
    }


def _message(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "title": RECORDS[name].__name__,
        "contentType": "application/json",
        "payload": {"schemaFormat": "application/schema+json;version=draft-07", "schema": _without_draft(name)},
        "bindings": {
            "kafka": {"key": {"type": "string", "description": "the user id, UTF-8"}, "bindingVersion": "0.5.0"}
        },
    }


def _without_draft(name: str) -> dict[str, Any]:
    """The record's schema as AsyncAPI's parser reads it: draft 7, where `$defs` is `definitions`."""
    text = orjson.dumps(schema(RECORDS[name])).replace(
        b"#/$defs/", f"#/components/messages/{name}/payload/schema/definitions/".encode()
    )
    found: dict[str, Any] = orjson.loads(text)
    del found["$schema"]
    if "$defs" in found:
        found["definitions"] = found.pop("$defs")
    return found


def contracts() -> dict[str, bytes]:
    """Each file's name and content."""
    found = {f"{name}.schema.json": schema(record) for name, record in RECORDS.items()}
    found["asyncapi.json"] = asyncapi()
    found |= {name: server.document() for name, server in SERVERS.items()}
    return {name: orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n" for name, content in found.items()}


def write(folder: Path) -> None:
    """Write all contracts into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contracts().items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
