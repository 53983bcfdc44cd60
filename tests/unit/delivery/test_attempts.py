"""The state of a delivery is a fold over its attempts, whatever their order and number."""

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.delivery.attempt_reader import (
    attempt_fields,
    first_states,
    last_provider,
    may_have_been_accepted,
    status_fields,
)
from notify_streams.delivery.attempts import (
    STATES,
    Attempt,
    DeliveryStatus,
    DeviceOutcome,
    Phase,
    Rank,
    attempt_document,
    before_second,
    delivery_key,
    fold,
    key_of,
    key_range,
    later,
    number_of,
    unpack,
)
from notify_streams.records.outcomes import DeliveryState

OWNER = b"abcdefgh"
KEY = delivery_key("d", 1)
_ATTEMPTS = st.builds(
    Attempt,
    st.sampled_from(Rank),
    st.integers(0, 3),
    st.sampled_from((None, "opted_out", "dead_token")),
    st.sampled_from((None, "fcm")),
    in_doubt=st.booleans(),
)
_RECEIPTS = (Rank.FAILED_BY_RECEIPT, Rank.RETRYING_BY_RECEIPT, Rank.DELIVERED)


def a_document(number: int, attempt: Attempt, owner: bytes = OWNER) -> dict[str, Any]:
    phase = Phase.RECEIPT if attempt.rank in _RECEIPTS else Phase.CALL
    return attempt_document(KEY, 1, number, phase, owner, attempt)


DOCUMENTS = st.lists(st.builds(a_document, st.integers(0, 4), _ATTEMPTS), min_size=1, max_size=8)
STATUSES = DOCUMENTS.map(lambda documents: fold(documents)[KEY])


@given(STATUSES, STATUSES, STATUSES)
def test_the_fold_is_commutative_associative_and_idempotent(
    one: DeliveryStatus, other: DeliveryStatus, third: DeliveryStatus
) -> None:
    assert later(one, other) == later(other, one)
    assert later(later(one, other), third) == later(one, later(other, third))
    assert later(one, one) == one


@given(DOCUMENTS, st.randoms())
def test_neither_order_nor_repetition_changes_the_state(documents: list[dict[str, Any]], random: Random) -> None:
    again = [*documents, *random.sample(documents, len(documents) // 2)]
    random.shuffle(again)
    folded, other = fold(documents)[KEY], fold(again)[KEY]
    assert folded == other and folded.last == other.last


@given(
    st.lists(
        st.builds(a_document, st.integers(1, 4), _ATTEMPTS.filter(lambda one: one.rank not in _RECEIPTS)), min_size=1
    )
)
def test_without_receipts_a_delivery_has_the_highest_state_of_its_attempts(documents: list[dict[str, Any]]) -> None:
    status = fold(documents)[KEY]
    attempts = [unpack(one["p"]) for one in documents]
    assert status.last.rank == max(one.rank for one in attempts)
    assert status.attempts == max(number_of(one["_id"]) for one in documents)
    assert status.in_doubt == any(one.in_doubt for one in attempts)


RETRYING, EXPIRED, FAILED, SENT = Rank.RETRYING, Rank.EXPIRED, Rank.FAILED, Rank.SENT
FAILED_BY_RECEIPT, AGAIN, DELIVERED = _RECEIPTS


@pytest.mark.parametrize(
    ("attempts", "state"),
    [
        pytest.param([(1, SENT), (1, FAILED_BY_RECEIPT)], "failed", id="a call that was accepted failed later"),
        pytest.param([(1, FAILED_BY_RECEIPT)], "failed", id="the receipt came before the call was settled"),
        pytest.param(
            [(1, RETRYING), (1, FAILED_BY_RECEIPT)], "retrying", id="a call in doubt failed: its timer goes on"
        ),
        pytest.param([(1, SENT), (1, FAILED_BY_RECEIPT), (1, AGAIN)], "retrying", id="another attempt follows"),
        pytest.param([(1, SENT), (1, FAILED_BY_RECEIPT), (1, AGAIN), (2, RETRYING)], "retrying", id="it waits"),
        pytest.param([(1, SENT), (1, FAILED_BY_RECEIPT), (1, AGAIN), (2, SENT)], "sent", id="it was accepted"),
        pytest.param([(1, SENT), (1, FAILED_BY_RECEIPT), (1, AGAIN), (2, EXPIRED)], "expired", id="it came too late"),
        pytest.param(
            [(1, SENT), (1, FAILED_BY_RECEIPT), (1, AGAIN), (2, SENT), (2, FAILED_BY_RECEIPT)],
            "failed",
            id="both failed",
        ),
        pytest.param([(1, SENT), (1, FAILED_BY_RECEIPT), (2, SENT)], "sent", id="a replay"),
        pytest.param([(1, SENT), (1, FAILED_BY_RECEIPT), (1, DELIVERED)], "delivered", id="delivered after all"),
        pytest.param([(1, SENT), (1, AGAIN), (2, FAILED), (1, DELIVERED)], "delivered", id="delivered after a retry"),
        pytest.param([(1, SENT), (0, FAILED_BY_RECEIPT)], "failed", id="a receipt without a number"),
        pytest.param([(1, RETRYING), (0, FAILED_BY_RECEIPT)], "retrying", id="the same of a call in doubt"),
        pytest.param([(1, SENT), (2, EXPIRED)], "sent", id="a late answer"),
    ],
)
def test_a_receipt_is_about_its_own_call(attempts: list[tuple[int, Rank]], state: str) -> None:
    documents = [a_document(number, Attempt(rank, 1)) for number, rank in attempts]
    assert fold(documents)[KEY].state == state
    assert fold(documents)[KEY].was_accepted is ((1, SENT) in attempts)


@pytest.mark.parametrize("outcome", ["accepted", "retry"])
def test_a_provider_took_what_is_retried_for_another_device_alone(outcome: str) -> None:
    devices = DeviceOutcome("a", "fcm", outcome), DeviceOutcome("b", "apns", "retry")
    status = fold([a_document(1, Attempt(RETRYING, 1, devices=devices))])[KEY]
    assert (status.state, status.was_accepted) == ("retrying", outcome == "accepted")


def test_the_order_of_the_states_is_that_of_the_design() -> None:
    assert [STATES[rank] for rank in sorted(Rank)] == [
        "retrying",
        "expired",
        "suppressed",
        "failed",
        "sent",
        "failed",
        "retrying",
        "delivered",
    ]


@given(st.text(min_size=1), st.floats(0, 2**32, exclude_max=True), st.integers(0, 0xFFFF), st.sampled_from(Phase))
def test_the_id_of_an_attempt_lies_in_the_range_of_its_delivery_only(
    delivery: str, decided_s: float, number: int, phase: Phase
) -> None:
    key = delivery_key(delivery, decided_s)
    identity = attempt_document(key, 1, number, phase, OWNER, Attempt(Rank.SENT, 1))["_id"]
    bounds = key_range(key)
    assert len(identity) == len(bounds["$gte"]) == len(before_second(1)["$lt"]), "MongoDB orders by length first"
    assert bounds["$gte"] <= identity <= bounds["$lte"]
    other = key_range(delivery_key(delivery + "x", decided_s))
    assert not other["$gte"] <= identity <= other["$lte"]
    assert (key_of(identity), number_of(identity)) == (key, number)


def test_expired_attempts_are_the_first_range() -> None:
    old, young = delivery_key("a", 999.999), delivery_key("a", 1000)
    limit = before_second(1000)["$lt"]
    ids = [attempt_document(key, 1, 1, Phase.CALL, OWNER, Attempt(Rank.SENT, 1))["_id"] for key in (old, young)]
    assert [one < limit for one in ids] == [True, False]


def test_two_calls_of_two_owners_have_two_ids() -> None:
    key = delivery_key("a", 1)
    ids = {attempt_document(key, 1, 1, Phase.CALL, owner, Attempt(Rank.SENT, 1))["_id"] for owner in (b"abc", b"abd")}
    assert len(ids) == 2


def test_a_first_attempt_led_to_a_retry_if_any_attempt_did() -> None:
    documents = [
        attempt_document(delivery_key(name, 1), 1, number, Phase.CALL, OWNER, Attempt(rank, number))
        for name, ranks in {
            "a": (Rank.RETRYING, Rank.SENT),
            "b": (Rank.SENT,),
            "c": (Rank.FAILED, Rank.DELIVERED),
            "d": (Rank.SENT, Rank.RETRYING_BY_RECEIPT, Rank.RETRYING),
        }.items()
        for number, rank in enumerate(ranks, 1)
    ]
    found = first_states(documents)
    assert [found[delivery_key(name, 1)] for name in "abcd"] == [
        DeliveryState.RETRYING,
        DeliveryState.SENT,
        DeliveryState.DELIVERED,
        DeliveryState.SENT,
    ]
    assert fold(documents)[delivery_key("a", 1)].state is DeliveryState.SENT


def test_an_attempt_keeps_the_segments_of_its_sms() -> None:
    key = delivery_key("d", 1)
    sms = Attempt(Rank.SENT, 2, provider="twilio", segments=3)
    receipt = Attempt(Rank.DELIVERED, 3)
    documents = [
        attempt_document(key, 1, 1, Phase.CALL, OWNER, sms),
        attempt_document(key, 1, 0, Phase.RECEIPT, OWNER, receipt),
    ]
    fields = status_fields(fold(documents)[key])
    assert (fields["state"], fields["segments"]) == ("delivered", 3)


def test_attempts_without_segments_can_be_read() -> None:
    """As they were written before the field existed."""
    assert unpack(msgspec.msgpack.encode([60, 1, None, "twilio", "SM1", None, True])) == Attempt(
        Rank.SENT, 1, None, "twilio", "SM1", None, in_doubt=True
    )


@pytest.mark.parametrize("phase", [3, 255])
def test_an_attempt_of_a_phase_of_a_later_release_says_nothing_here(phase: int) -> None:
    """After an update is rolled back it must stop no partition and no retry."""
    known = a_document(1, Attempt(Rank.RETRYING, 2, provider="fcm"))
    later_one = a_document(2, Attempt(Rank.DELIVERED, 3))
    later_one["_id"] = later_one["_id"][:18] + bytes([phase]) + later_one["_id"][19:]
    assert fold([known, later_one]) == fold([known])
    assert first_states([known, later_one]) == first_states([known])
    assert not fold([later_one]) and not first_states([later_one])
    assert attempt_fields(later_one)["kind"] == "unknown"


@pytest.mark.parametrize(
    ("rank", "expected"),
    [
        (0, DeliveryState.RETRYING),
        (45, DeliveryState.SUPPRESSED),
        (65, DeliveryState.SENT),
        (72, DeliveryState.FAILED),
        (90, DeliveryState.DELIVERED),
    ],
)
def test_a_rank_of_a_later_release_counts_as_the_one_below_it(rank: int, expected: DeliveryState) -> None:
    document = a_document(1, Attempt(rank, 2, provider="fcm"))
    assert (fold([document])[KEY].state, attempt_fields(document)["state"]) == (expected, expected.value)
    assert first_states([document]) == {KEY: expected}


def test_a_delivery_that_failed_by_a_receipt_shows_its_code_and_the_call_s_id() -> None:
    documents = [
        a_document(1, Attempt(Rank.SENT, 2, provider="twilio", provider_id="SM1", code="HTTP 201")),
        a_document(1, Attempt(Rank.FAILED_BY_RECEIPT, 3, "dead_token", "twilio", code="30006")),
    ]
    fields = status_fields(fold(documents)[KEY])
    expected = {"state": "failed", "reason": "dead_token", "provider": "twilio", "provider_id": "SM1", "code": "30006"}
    assert {name: fields[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        ([(1, Attempt(Rank.FAILED, 1, provider="fcm"))], (False, "fcm")),
        ([(1, Attempt(Rank.RETRYING, 1, provider="fcm", in_doubt=True)), (2, Attempt(Rank.EXPIRED, 2))], (True, "fcm")),
        ([(1, Attempt(Rank.SENT, 1, provider="fcm")), (1, Attempt(Rank.FAILED_BY_RECEIPT, 2))], (True, "fcm")),
        (
            [(2, Attempt(Rank.FAILED, 2, provider="apns")), (1, Attempt(Rank.RETRYING, 1, provider="fcm"))],
            (False, "apns"),
        ),
        ([(1, Attempt(Rank.SUPPRESSED, 1)), (0, Attempt(Rank.FAILED_BY_RECEIPT, 2, provider="fcm"))], (True, None)),
        ([(1, Attempt(Rank.SUPPRESSED, 1))], (False, None)),
    ],
    ids=["refused", "in doubt, then expired", "failed by a receipt", "two providers", "a receipt only", "no call"],
)
def test_another_call_is_a_possible_duplicate_if_one_may_have_been_accepted(
    attempts: list[tuple[int, Attempt]], expected: tuple[bool, str | None]
) -> None:
    status = fold(a_document(*one) for one in attempts)[KEY]
    assert (may_have_been_accepted(status), last_provider(status)) == expected
