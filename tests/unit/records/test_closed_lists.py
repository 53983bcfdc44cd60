"""The lists that users and operators build on. A name that goes away breaks their queries: that is a decision, not a typo."""

from notify_streams.outbox.flush_plan import COUNTED
from notify_streams.records.outcomes import ORDER, DeadReason, DeliveryState, Reason, TriggerOutcome


def test_the_outcomes_of_a_trigger() -> None:
    assert set(TriggerOutcome) == {"notified", "forwarded", "repartitioned", "dead", "duplicate"}


def test_each_outcome_has_its_count_in_the_ledger() -> None:
    assert set(COUNTED) == set(TriggerOutcome)
    assert len(set(COUNTED.values())) == len(TriggerOutcome)


def test_the_reasons_of_dead_letters() -> None:
    assert set(DeadReason) == {
        "not_json",
        "invalid",
        "unknown_category",
        "unknown_user",
        "too_large",
        "id_conflict",
        "too_many_hops",
    }


def test_the_contracts_reasons_of_deliveries_are_there() -> None:
    assert set(Reason) >= {
        "opted_out",
        "not_opted_in",
        "channel_not_allowed",
        "no_contact",
        "expired",
        "provider_rejected",
        "provider_exhausted",
        "dead_token",
    }


def test_every_state_has_its_place_and_the_way_leads_up() -> None:
    assert set(ORDER) == set(DeliveryState)
    way = [
        DeliveryState.DEFERRED,
        DeliveryState.QUEUED,
        DeliveryState.SENDING,
        DeliveryState.SENT,
        DeliveryState.DELIVERED,
    ]
    assert [ORDER[state] for state in way] == sorted(ORDER[state] for state in way)
    ends = [DeliveryState.SUPPRESSED, DeliveryState.EXPIRED, DeliveryState.FAILED, DeliveryState.DELIVERED]
    assert min(ORDER[end] for end in ends) > ORDER[DeliveryState.SENT]
