"""docs/contracts is what the structs say, passes the ecosystem's validators, and accepts what the readers accept."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from jsonschema import Draft202012Validator

from devtools.contracts import FOLDER, RECORDS, contracts, schema, write
from devtools.npm import node, packages
from notify_streams.delivery.receipts import Receipt, read_receipt
from notify_streams.records.trigger import Trigger, read_trigger

TRIGGER: Final = {"id": "1", "user_id": "u", "category": "c", "template": "t"}
RECEIPT: Final = {"delivery_id": "n:push", "state": "delivered", "at": "2026-11-28T12:00:00Z"}


def test_the_files_are_those_of_the_structs(tmp_path: Path) -> None:
    write(tmp_path)
    assert {file.name: file.read_bytes() for file in FOLDER.iterdir()} == {
        file.name: file.read_bytes() for file in tmp_path.iterdir()
    }, "write them anew: python -m devtools.contracts"


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_each_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(schema(RECORDS[name]))


def accepts(name: str, record: dict[str, Any]) -> bool:
    return bool(Draft202012Validator(schema(RECORDS[name])).is_valid(record))


@pytest.mark.parametrize(
    ("but", "valid"),
    [
        ({}, True),
        ({"data": {"amount": 5, "place": None}, "channels": ["push"], "isCritical": True}, True),
        ({"data": None, "expires_at": None, "unknown": 1}, True),
        ({"user_id": 7}, False),
        ({"user_id": ""}, False),
        ({"user_id": "x" * 129}, False),
        ({"channels": ["fax"]}, False),
        ({"isCritical": "yes"}, False),
        ({"data": [1]}, False),
        ({"collapse_key": "x" * 65}, False),
        ({"title": "x" * 1001, "body": "b"}, False),
    ],
    ids=str,
)
def test_the_schema_of_a_trigger_and_its_reader_agree(but: dict[str, Any], valid: bool) -> None:
    record = TRIGGER | but
    assert isinstance(read_trigger(orjson.dumps(record), ()), Trigger) is valid
    assert accepts("trigger", record) is valid


@pytest.mark.parametrize(
    ("but", "valid"),
    [
        ({}, True),
        ({"state": "failed", "reason": "bounced", "attempt": 2, "temporary": True}, True),
        ({"state": "read"}, False),
        ({"attempt": -1}, False),
        ({"attempt": 65536}, False),
        ({"reason": "because"}, False),
        ({"delivery_id": ""}, False),
    ],
    ids=str,
)
def test_the_schema_of_a_receipt_and_its_reader_agree(but: dict[str, Any], valid: bool) -> None:
    record = RECEIPT | but
    assert isinstance(read_receipt(orjson.dumps(record), 1_800_000_000_000), Receipt) is valid
    assert accepts("receipt", record) is valid


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_a_required_field_cannot_be_left_out(name: str) -> None:
    required = schema(RECORDS[name])["required"]
    assert "user_id" in required or name in ("receipt", "notification_event")
    assert not accepts(name, {})


def test_asyncapis_own_parser_takes_the_document() -> None:
    bundle = packages() / "node_modules" / "@asyncapi" / "parser" / "browser" / "index.js"
    script = Path(__file__).with_name("parse_asyncapi.cjs")
    done = subprocess.run(
        [node(), str(script), str(bundle), str(FOLDER / "asyncapi.json")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found = orjson.loads(done.stdout)
    worse_than_a_hint = [one for one in found["diagnostics"] if one["severity"] < 2]
    assert worse_than_a_hint == []
    assert found["isDocument"]


def test_asyncapi_has_each_record_once() -> None:
    document = orjson.loads(contracts()["asyncapi.json"])
    used = [name for channel in document["channels"].values() for name in channel["messages"]]
    assert sorted(used) == sorted(RECORDS)
