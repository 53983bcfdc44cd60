"""The faults of the provider sandbox: actions by plan and seed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from devtools.sandbox.fault_injection import Action, Failure, FaultInjector, FaultPlan


def actions(count: int = 2000, **plan: Any) -> list[Action]:
    injector = FaultInjector(FaultPlan(**{"provider": "fcm", **plan}))
    return [injector.next_action(f"c-{n}") for n in range(count)]


def test_without_faults_everything_is_accepted() -> None:
    assert set(actions()) == {Action.ACCEPT}


def test_the_actions_depend_on_the_seed_only() -> None:
    plan: dict[str, Any] = {"fail": Failure(503, share=0.3), "hang": 0.1, "lose_answer": 0.1}
    assert actions(**plan, seed=7) == actions(**plan, seed=7) != actions(**plan, seed=8)


def test_a_share_of_the_messages_fails() -> None:
    found = actions(fail=Failure(503, share=0.2))
    assert 300 < found.count(Action.FAIL) < 500
    assert set(found) == {Action.FAIL, Action.ACCEPT}


@pytest.mark.parametrize(
    ("plan", "action"),
    [
        ({"hang": True}, Action.HANG),
        ({"lose_answer": 1.0}, Action.ACCEPT_AND_LOSE_ANSWER),
        ({"fail": Failure(400)}, Action.FAIL),
        ({"provider": "apns", "go_away": True}, Action.ACCEPT_AND_GO_AWAY),
    ],
)
def test_a_share_of_1_is_all_messages(plan: dict[str, Any], action: Action) -> None:
    assert set(actions(**plan)) == {action}


def test_only_dead_contacts_are_refused() -> None:
    injector = FaultInjector(FaultPlan("fcm", dead_tokens=frozenset({"gone"})))
    assert (injector.next_action("gone"), injector.next_action("here")) == (Action.DEAD, Action.ACCEPT)


@pytest.mark.parametrize(
    "body",
    [
        b'{"provider": "fax"}',
        b'{"provider": "fcm", "go_away": true}',
        b'{"provider": "fcm", "fial": {}}',
        b'{"provider": "fcm", "hang": 2}',
        b'{"provider": "fcm", "fail": {"status": 200}}',
        b'{"provider": "fcm", "latency_ms": -1}',
    ],
)
def test_an_invalid_plan_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=FaultPlan)
