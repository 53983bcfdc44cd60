"""The closed lists. Queries of users and operators depend on these names."""

from notify_streams.outbox.flush_plan import COUNTED
from notify_streams.records.outcomes import DeadReason, DeliveryState, Reason, TriggerOutcome


def test_the_outcomes_of_a_trigger() -> None:
    assert set(TriggerOutcome) == {"notified", "forwarded", "repartitioned", "dead", "duplicate", "waiting"}


def test_each_outcome_has_its_count_in_the_ledger() -> None:
    assert set(COUNTED) == set(TriggerOutcome)
    assert len(set(COUNTED.values())) == len(TriggerOutcome)


def test_the_reasons_of_dead_letters() -> None:
    assert set(DeadReason) == {
        "not_json",
        "invalid",
        "unknown_category",
        "unknown_template",
        "missing_variable",
        "category_not_allowed",
        "unknown_user",
        "too_large",
        "id_conflict",
        "too_many_hops",
        "bad_record",
    }


def test_the_contracts_reasons_of_deliveries_are_there() -> None:
    assert set(Reason) >= {
        "opted_out",
        "not_opted_in",
        "channel_not_allowed",
        "no_contact",
        "expired",
        "provider_rejected",
        "dead_token",
        "rendering",
        "too_large",
        "bad_address",
        "superseded",
    }


def test_the_states_of_deliveries() -> None:
    assert set(DeliveryState) == {
        "suppressed",
        "deferred",
        "queued",
        "retrying",
        "sent",
        "delivered",
        "failed",
        "expired",
    }
