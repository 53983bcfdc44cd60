"""The encoding and the segments of an SMS; the contract tests compare them with Twilio's calculator."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from notify_streams.delivery.providers import Outgoing, ProviderConfig, ProviderOutcome
from notify_streams.delivery.providers.sms import sms_size
from notify_streams.delivery.providers.twilio import Twilio

FAMILY = "👨\u200d👩\u200d👧\u200d👦"  # one grapheme of 11 units

CASES = [
    ("", "GSM-7", 0, 1),
    ("x" * 160, "GSM-7", 160, 1),
    ("x" * 161, "GSM-7", 161, 2),
    ("x" * 306, "GSM-7", 306, 2),
    ("x" * 307, "GSM-7", 307, 3),
    ("€" * 80, "GSM-7", 160, 1),
    ("€" * 81, "GSM-7", 162, 2),
    # The 153rd septet of each segment stays empty: an extension character is not split.
    ("€" * 153, "GSM-7", 306, 3),
    ("\r\n" * 80, "GSM-7", 160, 1),
    ("`", "UCS-2", 1, 1),
    ("ж" * 70, "UCS-2", 70, 1),
    ("ж" * 71, "UCS-2", 71, 2),
    ("ж" * 134, "UCS-2", 134, 2),
    ("ж" * 135, "UCS-2", 135, 3),
    # In UCS-2 an extension character takes one unit.
    ("ж" + "€" * 69, "UCS-2", 70, 1),
    ("😀" * 35, "UCS-2", 70, 1),
    # 33 pairs a segment, because the 67th unit does not hold one.
    ("😀" * 66, "UCS-2", 132, 2),
    ("😀" * 67, "UCS-2", 134, 3),
    # 6 families a segment
    (FAMILY * 12, "UCS-2", 132, 2),
    (FAMILY * 13, "UCS-2", 143, 3),
]


@pytest.mark.parametrize(("text", "encoding", "units", "segments"), CASES, ids=lambda value: str(value)[:8])
def test_the_size_of_a_text(text: str, encoding: str, units: int, segments: int) -> None:
    assert sms_size(text) == (encoding, units, segments)


def test_the_time_is_linear_in_the_length() -> None:
    """One grapheme of 400,000 combining characters; a quadratic rule takes minutes."""
    began = time.process_time()
    assert sms_size("e" + "\u0301" * 400_000).units == 400_001
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("limit", "body", "detail"),
    [
        (10, "x" * 1531, "11 segments in GSM-7, providers.max_sms_segments is 10"),
        (2, "ж" * 135, "3 segments in UCS-2, providers.max_sms_segments is 2"),
        (11, "x" * 1601, "1601 characters in GSM-7, Twilio takes 1600"),
        (100, "😀" * 801, "1602 characters in UCS-2, Twilio takes 1600"),
    ],
)
async def test_a_text_of_too_many_segments_is_refused_before_the_call(
    an_outgoing: Callable[..., Outgoing], limit: int, body: str, detail: str
) -> None:
    client = Twilio(ProviderConfig(fcm="", twilio="http://unused", smtp="", max_sms_segments=limit))
    result = await client.send(an_outgoing(channel="sms", to="+12025550100", title=None, body=body))
    assert (result.outcome, result.begun, result.detail) == (ProviderOutcome.TOO_LARGE, False, detail)
    assert result.segments == sms_size(body).segments
