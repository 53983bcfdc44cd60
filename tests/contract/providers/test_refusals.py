"""What a provider would refuse for a reason that we can know is ended by us, with our reason, without a call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notify_streams.delivery.providers import CHANNELS, Outgoing, ProviderOutcome, ProviderResult, provider_for
from notify_streams.records.names import is_reserved

OURS = {ProviderOutcome.RENDERING, ProviderOutcome.TOO_LARGE, ProviderOutcome.BAD_ADDRESS}
#: Of the keys and names of notification and data that each push has here, beside the text.
PUSH_TEXT = 4096 - len("bodynotify_delivery_iddnotify_notification_idnnotify_attempt1")

CASES = [
    pytest.param("push", {"body": "x" * PUSH_TEXT}, None, id="the largest push"),
    pytest.param("push", {"body": "x" * (PUSH_TEXT + 1)}, ProviderOutcome.TOO_LARGE, id="a push of a byte more"),
    pytest.param("push", {"body": "漢" * (PUSH_TEXT // 3 + 1)}, ProviderOutcome.TOO_LARGE, id="bytes, not characters"),
    pytest.param("push", {"data": {"k": "x" * PUSH_TEXT}}, ProviderOutcome.TOO_LARGE, id="data and text together"),
    pytest.param("push", {"to": "tök en"}, ProviderOutcome.BAD_ADDRESS, id="no token"),
    pytest.param("sms", {"body": "x" * 1530}, None, id="an sms of ten segments"),
    pytest.param("sms", {"body": "x" * 1531}, ProviderOutcome.TOO_LARGE, id="an sms of a character more"),
    pytest.param("sms", {"body": "😀" * 331}, ProviderOutcome.TOO_LARGE, id="an sms of more emoji"),
    pytest.param("sms", {"title": "", "body": " \n"}, ProviderOutcome.RENDERING, id="an sms without text"),
    pytest.param("sms", {"to": "not-a-number"}, ProviderOutcome.BAD_ADDRESS, id="no number"),
    pytest.param("sms", {"to": "+12025550100\n"}, ProviderOutcome.BAD_ADDRESS, id="a number and a line end"),
    pytest.param("sms", {"to": "+15550000000"}, ProviderOutcome.BAD_ADDRESS, id="our own number"),
    pytest.param("email", {"body": "x" * 11_000_000}, ProviderOutcome.TOO_LARGE, id="more than the server takes"),
    pytest.param("email", {"to": "no-domain"}, ProviderOutcome.BAD_ADDRESS, id="no domain"),
    pytest.param("email", {"to": "A <a@b.example>"}, ProviderOutcome.BAD_ADDRESS, id="a name"),
    pytest.param("email", {"to": "a@b.example\r\nRCPT TO:<c@d.example>"}, ProviderOutcome.BAD_ADDRESS, id="a command"),
    pytest.param("email", {"to": "x" * 70 + "@example.org"}, ProviderOutcome.BAD_ADDRESS, id="a long local part"),
    *(
        pytest.param(
            channel, {"delivery_id": "😀" * 128 + ".x", "notification_id": "😀" * 128}, None, id=f"ids, {channel}"
        )
        for channel in CHANNELS
    ),
]


def outgoing(channel: str, **but: Any) -> Outgoing:
    to = {"push": "token-1", "sms": "+12025550100", "email": "a@example.org"}[channel]
    given = {"delivery_id": "d", "notification_id": "n", "channel": channel, "to": to, "body": "hi"} | but
    return Outgoing(**given)


async def results(sandbox: Any, channel: str, messages: Sequence[Outgoing]) -> list[ProviderResult]:
    provider = provider_for(channel, sandbox.config(timeout_s=30, start_within_s=30))
    await provider.start()
    try:
        return [await provider.send(message) for message in messages]
    finally:
        await provider.close()


@pytest.mark.parametrize(("channel", "but", "ours"), CASES)
async def test_what_we_can_know_ends_without_a_call(
    sandbox: Any, channel: str, but: dict[str, Any], ours: ProviderOutcome | None
) -> None:
    message = outgoing(channel, **but)
    before = len(sandbox.accepted(message.delivery_id))
    (result,) = await results(sandbox, channel, [message])
    assert result.outcome is (ours or ProviderOutcome.ACCEPTED)
    assert result.begun is (ours is None)
    assert len(sandbox.accepted(message.delivery_id)) - before == (ours is None)
    assert message.to not in repr(result)


_text = st.text(st.characters(codec="utf-8"), max_size=40)
_long_text = st.builds(lambda text, times: text * times, _text, st.sampled_from([1, 1, 1, 20, 60, 200]))
_id = st.text(st.characters(codec="utf-8"), min_size=1, max_size=128)
_contact = {
    "push": st.text(min_size=1, max_size=40) | st.from_regex(r"[A-Za-z0-9:_-]{1,200}", fullmatch=True),
    "sms": st.from_regex(r"\+[1-9][0-9]{5,14}") | st.text(max_size=16),
    "email": st.emails() | st.from_regex(r"^[^@\s]+@[^@\s]+$") | st.from_regex(r"\A\w{1,70}@[\w.-]{1,70}\Z"),
}
_data = st.dictionaries(
    _text.filter(lambda name: not is_reserved(name)), _long_text | st.integers(-(2**63), 2**63 - 1), max_size=4
)


def messages_of(channel: str) -> st.SearchStrategy[Outgoing]:
    return st.builds(
        outgoing,
        channel=st.just(channel),
        delivery_id=_id,
        notification_id=_id,
        to=_contact[channel],
        title=st.none() | _long_text,
        body=_long_text,
        data=st.none() | _data,
        collapse_key=st.none() | _text,
        expires_at_ms=st.none() | st.integers(0, 2**45),
        critical=st.booleans(),
        possible_duplicate=st.booleans(),
    )


@pytest.mark.parametrize("channel", CHANNELS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_provider_refuses_nothing_that_we_could_have_known(one_sandbox: Any, channel: str, data: Any) -> None:
    messages = data.draw(st.lists(messages_of(channel), min_size=1, max_size=3))
    for result in asyncio.run(results(one_sandbox, channel, messages)):
        is_ours = result.outcome in OURS and not result.begun
        assert result.outcome is ProviderOutcome.ACCEPTED or is_ours, result
