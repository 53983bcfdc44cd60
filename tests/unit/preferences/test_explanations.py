"""`why` can say which choice led to what, and does not guess where it cannot know."""

from typing import Any

import pytest

from notify_streams.preferences.choices import EMPTY_RECORD, merge
from notify_streams.preferences.explanation import OF_ADDRESS, explain
from notify_streams.preferences.suppressed_addresses import SUPPRESSION_REASONS
from notify_streams.records.outcomes import Reason
from tests.unit.preferences.preference_builders import NOON, a_change, later, the_categories

OUT_THEN_IN = [a_change(number=2, opted_in=False, at=later(0)), a_change(number=2, opted_in=True, at=later(60))]
OUT = merge(EMPTY_RECORD, OUT_THEN_IN[:1], NOON)
BACK_IN = merge(EMPTY_RECORD, OUT_THEN_IN, NOON)

CASES = {
    "opted out before": (
        ("marketing", "push", Reason.OPTED_OUT, 1, OUT),
        "marketing by push was suppressed: opted out at 2026-11-22T12:00:00+00:00 (version 1)",
    ),
    "opted out between decision and call": (
        ("marketing", "push", Reason.OPTED_OUT, 0, OUT),
        "marketing by push was suppressed: opted out at 2026-11-22T12:00:00+00:00 (version 1), after the decision with "
        "version 0; the check before the provider call found it",
    ),
    "opted out then, in today": (
        ("marketing", "push", Reason.OPTED_OUT, 1, BACK_IN),
        "marketing by push was suppressed: opted out as of version 1; since then: opted in at 2026-11-22T12:01:00+00:00 "
        "(version 2)",
    ),
    "record gone": (
        ("marketing", "push", Reason.OPTED_OUT, 1, EMPTY_RECORD),
        "marketing by push was suppressed: opted out as of version 1; that record no longer exists",
    ),
    "never opted in": (
        ("marketing", "email", Reason.NOT_OPTED_IN, 0, EMPTY_RECORD),
        "marketing by email is sent only to users who opted in, and nothing was chosen",
    ),
    "channel not used": (
        ("marketing", "sms", Reason.CHANNEL_NOT_ALLOWED, 0, EMPTY_RECORD),
        "marketing by sms is not allowed: the category uses push, email",
    ),
    "allowed by default": (
        ("marketing", "push", None, 0, EMPTY_RECORD),
        "marketing by push was allowed: nothing was chosen, and the default is to send",
    ),
    "allowed by choice": (
        ("marketing", "push", None, 2, BACK_IN),
        "marketing by push was allowed: opted in at 2026-11-22T12:01:00+00:00 (version 2)",
    ),
    "allowed then, out today": (
        ("marketing", "push", None, 0, OUT),
        "marketing by push was allowed: as of version 0; since then: opted out at 2026-11-22T12:00:00+00:00 (version 1)",
    ),
    "cannot be turned off": (
        ("security", "push", None, 1, OUT),
        "security by push was allowed: it cannot be turned off",
    ),
    "another reason": (
        ("marketing", "push", Reason.NO_CONTACT, 0, EMPTY_RECORD),
        "preferences allowed marketing by push; the reason is another: no_contact",
    ),
    "category gone": (("spam", "push", None, 0, EMPTY_RECORD), "there is no category 'spam' today"),
}


@pytest.mark.parametrize(("asked", "sentence"), CASES.values(), ids=CASES.keys())
def test_the_sentence_says_which_choice(asked: Any, sentence: Any) -> None:
    assert explain(the_categories(), *asked) == sentence


def test_each_reason_of_a_suppressed_address_is_explained() -> None:
    assert OF_ADDRESS.keys() == set(SUPPRESSION_REASONS.values())
    assert OF_ADDRESS.get("stopped") and OF_ADDRESS.get(None) is None  # type: ignore[call-overload]
