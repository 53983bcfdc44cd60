"""The certificate of an erasure over several regions."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from notify_streams.admin.certificate import certificate
from notify_streams.errors import Refused
from notify_streams.secret import Secret
from notify_streams.settings_public import PublicSettings
from tests.builders import NOON, some_settings

SETTINGS = some_settings(regions=["us", "eu"], public=PublicSettings(address_key=Secret("k" * 32)))
BEGUN = {"requested_at": NOON, "found": {"contacts_1": 1, "notifications_2": 5, "contacts_2": 1}, "done": []}
FINISHED = BEGUN | {"first_pass_at": NOON, "finished_at": NOON + timedelta(minutes=10)}


def a_certificate(documents: dict[str, Any], **away: str) -> dict[str, Any]:
    return certificate(SETTINGS, "ann", documents, away)


def test_it_holds_when_every_region_has_finished_and_says_what_remains_and_until_when() -> None:
    found = a_certificate({"us": FINISHED, "eu": FINISHED})
    assert found["holds"] and found["regions"]["us"]["found"] == {"contacts": 2, "notifications": 5}
    records, keys, *_ = found["remains"]
    assert {"dead_letters", "user_erasures", "forward.eu", "push", "triggers.payments"} <= set(records["topics"])
    assert set(keys["topics"]) == {"user_locations", "preference_rows", "contact_rows"}
    assert records["until"] - FINISHED["finished_at"] == timedelta(days=8, hours=1)
    assert "ann" not in json.dumps(found, default=str)


@pytest.mark.parametrize(
    ("documents", "away", "state"),
    [
        ({"us": FINISHED, "eu": BEGUN}, {}, {"state": "begun"}),
        ({"us": FINISHED, "eu": BEGUN | {"first_pass_at": NOON}}, {}, {"state": "first_pass"}),
        ({"us": FINISHED, "eu": None}, {}, {"state": "not_requested"}),
        ({"us": FINISHED}, {"eu": "shard 0 is away"}, {"unreachable": "shard 0 is away"}),
    ],
    ids=["begun", "first pass", "not there yet", "away"],
)
def test_it_does_not_hold_while_a_region_has_not_finished(
    documents: dict[str, Any], away: dict[str, str], state: dict[str, str]
) -> None:
    found = a_certificate(documents, **away)
    assert not found["holds"] and found["remains"] == []
    assert found["regions"]["eu"].items() >= state.items()


def test_without_the_key_of_the_hash_it_says_what_to_set() -> None:
    with pytest.raises(Refused, match=r"public\.address_key"):
        certificate(some_settings(), "ann", {}, {})
