"""Requests and rules equal those of the packages that the providers publish."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

import msgspec
import phonenumbers
import pytest
from twilio.http.response import Response
from twilio.rest import Client

from devtools.sandbox import fcm as fcm_sandbox
from notify_streams.delivery.providers import Outgoing
from notify_streams.delivery.providers.fcm import fcm_request
from notify_streams.delivery.providers.twilio import twilio_form
from notify_streams.records.addresses import is_phone_number

Builder = Callable[..., Outgoing]
NOW_MS = 1_764_000_000_000


class CapturingClient:
    """Keeps the request that the twilio package would send."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    def request(self, method: str, url: str, *args: Any, **more: Any) -> Response:
        self.requests.append({"method": method, "url": url, **more})
        return Response(201, '{"sid": "SM1"}')


SENDERS = [("+15550000000", {"from_": "+15550000000"}), ("MG" + "0" * 32, {"messaging_service_sid": "MG" + "0" * 32})]


@pytest.mark.parametrize(("sender", "as_sender"), SENDERS, ids=["a number", "a messaging service"])
@pytest.mark.parametrize("expires_at_ms", [None, NOW_MS + 60_000])
def test_an_sms_is_the_request_of_the_twilio_package(
    an_outgoing: Builder, sender: str, as_sender: dict[str, str], expires_at_ms: int | None
) -> None:
    message = an_outgoing(channel="sms", to="+12025550100", body="5 € & more?", expires_at_ms=expires_at_ms)
    ours = twilio_form(message, sender, "https://r.example/receipts?region=us", NOW_MS)
    http = CapturingClient()
    Client("AC1", "secret", http_client=http).messages.create(
        to="+12025550100",
        body="Payment received\n5 € & more?",
        status_callback=ours["StatusCallback"],
        **({} if expires_at_ms is None else {"validity_period": 60}),
        **as_sender,
    )
    (request,) = http.requests
    assert request["method"] == "POST"
    assert request["url"] == "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json"
    assert request["auth"] == ("AC1", "secret")
    assert sorted(urlencode(ours).split("&")) == sorted(urlencode(request["data"]).split("&"))


def discovery() -> dict[str, Any]:
    """The schemas of FCM's discovery document."""
    text = files("googleapiclient.discovery_cache").joinpath("documents", "fcm.v1.json").read_text()
    schemas: dict[str, Any] = json.loads(text)["schemas"]
    return schemas


def problems(value: Any, schema: dict[str, Any], schemas: dict[str, Any], at: str = "") -> list[str]:
    """Where `value` is not as `schema` says."""
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    if "enum" in schema and value not in schema["enum"]:
        return [f"{at}: {value!r} is none of {schema['enum']}"]
    types: dict[str, Any] = {
        "object": dict,
        "string": str,
        "boolean": bool,
        "array": list,
        "integer": int,
        "number": (int, float),
    }
    if schema["type"] != "any" and not isinstance(value, types[schema["type"]]):
        return [f"{at}: {value!r} is no {schema['type']}"]
    found = []
    for name, one in value.items() if isinstance(value, dict) else ():
        inside = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
        found += [f"{at}.{name}: unknown"] if inside is None else problems(one, inside, schemas, f"{at}.{name}")
    return found


PUSHES: list[dict[str, Any]] = [
    {},
    {"title": None},
    {"critical": True, "collapse_key": "k", "expires_at_ms": NOW_MS + 90_500, "possible_duplicate": True},
    {"data": {"amount": 12.5, "items": ["a"], "none": None}, "decided_at_ms": NOW_MS, "attempt": 3},
]


@pytest.mark.parametrize("but", PUSHES)
def test_a_push_is_valid_by_fcms_discovery_document(an_outgoing: Builder, but: dict[str, Any]) -> None:
    schemas = discovery()
    request = fcm_request(an_outgoing(**but), NOW_MS)
    assert problems(request, schemas["SendMessageRequest"], schemas) == []
    assert problems(request["message"] | {"x": 1}, schemas["Message"], schemas) == [".x: unknown"], "the check itself"
    assert problems({"android": {"priority": "LOW"}}, schemas["Message"], schemas) != []


def _words(text: str) -> list[str]:
    return text.split()


#: What the sandbox does not take: other recipients than a token, and a successor of `android`.
NOT_TAKEN = {"Message": {"topic", "condition", "fid", "androidV2"}}


@pytest.mark.parametrize(
    "name",
    _words("""SendMessageRequest Message Notification FcmOptions AndroidConfig AndroidNotification LightSettings ApnsConfig ApnsFcmOptions
    WebpushConfig WebpushFcmOptions"""),
)
def test_the_sandbox_knows_the_fields_of_the_discovery_document(name: str) -> None:
    known = {field.encode_name for field in msgspec.structs.fields(getattr(fcm_sandbox, name))}
    assert known == set(discovery()[name]["properties"]) - NOT_TAKEN.get(name, set())


def test_every_example_number_is_a_phone_number() -> None:
    """Of all regions and kinds of numbers, in E.164."""
    examples = [
        phonenumbers.example_number_for_type(region, kind)
        for region in phonenumbers.SUPPORTED_REGIONS
        for kind in phonenumbers.PhoneNumberType.values()
    ]
    examples += map(phonenumbers.example_number_for_non_geo_entity, phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS)
    texts = {
        phonenumbers.format_number(one, phonenumbers.PhoneNumberFormat.E164) for one in examples if one is not None
    }
    assert len(texts) > 1000
    assert {text for text in texts if not is_phone_number(text)} == set()
