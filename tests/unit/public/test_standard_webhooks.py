"""What the package `standardwebhooks` signs is accepted, and nothing else."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook

from notify_streams.public.standard_webhooks import TOLERANCE_S, SeenIds, WebhookKeys

SECRETS = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]
BODY = '{"type":"delivery.delivered","data":{"text":"Grüße"}}'


def signed(secret: str = SECRETS[0], body: str = BODY, age_s: float = 0, name: str = "msg_1") -> dict[str, str]:
    at = datetime.now(UTC) - timedelta(seconds=age_s)
    return {
        "webhook-id": name,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(name, at, body),
    }


def verified(headers: dict[str, str], body: str = BODY) -> bool:
    found = WebhookKeys(SECRETS).verified(headers, body.encode(), time.time())
    assert found is None or found[0] == headers["webhook-id"]
    return found is not None


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("age_s", [0, TOLERANCE_S - 5, 5 - TOLERANCE_S])
def test_what_the_package_signs_is_accepted(secret: str, age_s: float) -> None:
    headers = signed(secret, age_s=age_s)
    assert verified(headers)
    assert Webhook(secret).verify(BODY, headers), "the package takes the same"


def test_one_of_several_signatures_is_enough() -> None:
    headers = signed()
    headers["webhook-signature"] = f"v1a,AAAA v1,AAAA {headers['webhook-signature']}"
    assert verified(headers)


@pytest.mark.parametrize(
    "wrong",
    [
        {"webhook-id": "msg_2"},
        {"webhook-id": ""},
        {"webhook-id": "m" * 257},
        {"webhook-timestamp": str(int(time.time()) - 1)},
        {"webhook-timestamp": "now"},
        {"webhook-timestamp": "١٧٩٥٠٠٠٠٠٠"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,\udcff"},
        {"webhook-signature": signed("whsec_" + "A" * 32)["webhook-signature"]},
    ],
)
def test_what_was_changed_is_refused(wrong: dict[str, str]) -> None:
    assert not verified(signed() | wrong)
    assert not verified(signed(), BODY + " ")


@pytest.mark.parametrize("age_s", [TOLERANCE_S + 5, -TOLERANCE_S - 5])
def test_what_is_too_old_or_ahead_is_refused(age_s: float) -> None:
    assert not verified(signed(age_s=age_s))


def test_an_id_is_known_as_long_as_its_webhook_could_be_sent_again() -> None:
    seen = SeenIds(max_ids=3)
    seen.add("a", 0.0)
    seen.add("b", 2 * TOLERANCE_S)
    assert "a" in seen and "b" in seen
    seen.add("c", 2 * TOLERANCE_S + 1)
    assert "a" not in seen and "c" in seen
    for number in range(10):
        seen.add(str(number), 2 * TOLERANCE_S + 2)
    assert "9" in seen and "b" not in seen
