"""The lists that users and operators build on. A name that goes away breaks their queries: that is a decision, not a typo."""

from notify_streams.outbox.flush import COUNTED
from notify_streams.records.reasons import ORDER, DeadReason, Outcome, Reason, State


def test_the_outcomes_of_a_trigger():
    assert set(Outcome) == {"notified", "forwarded", "repartitioned", "dead", "duplicate"}


def test_each_outcome_has_its_count_in_the_ledger():
    assert set(COUNTED) == set(Outcome)
    assert len(set(COUNTED.values())) == len(Outcome)


def test_the_reasons_of_dead_letters():
    assert set(DeadReason) == {
        "not_json",
        "invalid",
        "unknown_category",
        "unknown_user",
        "too_large",
        "id_conflict",
        "too_many_hops",
    }


def test_the_contracts_reasons_of_deliveries_are_there():
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


def test_every_state_has_its_place_and_the_way_leads_up():
    assert set(ORDER) == set(State)
    way = [State.DEFERRED, State.QUEUED, State.SENDING, State.SENT, State.DELIVERED]
    assert [ORDER[state] for state in way] == sorted(ORDER[state] for state in way)
    ends = [State.SUPPRESSED, State.EXPIRED, State.FAILED, State.DELIVERED]
    assert min(ORDER[end] for end in ends) > ORDER[State.SENT]
