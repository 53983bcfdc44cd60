"""The sandbox misbehaves as ordered, and the same again for the same seed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from devtools.sandbox.fault_injection import Failure, FaultInjector, FaultPlan, InjectedFault


def fates(count: int = 2000, **orders: Any) -> list[InjectedFault]:
    behaviour = FaultInjector(FaultPlan("fcm", **orders))
    return [behaviour.fate(f"c-{n}") for n in range(count)]


def test_without_orders_everything_is_accepted():
    assert set(fates()) == {InjectedFault.ACCEPT}


def test_the_same_seed_gives_the_same_fates_and_another_seed_others():
    orders = {"fail": Failure(503, share=0.3), "hang": 0.1, "lose_answer": 0.1}
    assert fates(**orders, seed=7) == fates(**orders, seed=7) != fates(**orders, seed=8)


def test_a_share_is_a_share():
    found = fates(fail=Failure(503, share=0.2))
    assert 300 < found.count(InjectedFault.FAIL) < 500
    assert set(found) == {InjectedFault.FAIL, InjectedFault.ACCEPT}


@pytest.mark.parametrize(
    ("orders", "fate"),
    [
        ({"hang": True}, InjectedFault.HANG),
        ({"lose_answer": 1.0}, InjectedFault.ACCEPT_AND_LOSE_ANSWER),
        ({"fail": Failure(400)}, InjectedFault.FAIL),
    ],
)
def test_all_means_all(orders: dict[str, Any], fate: InjectedFault):
    assert set(fates(**orders)) == {fate}


def test_only_the_dead_are_dead():
    behaviour = FaultInjector(FaultPlan("fcm", dead_tokens=frozenset({"gone"})))
    assert (behaviour.fate("gone"), behaviour.fate("here")) == (InjectedFault.DEAD, InjectedFault.ACCEPT)


@pytest.mark.parametrize(
    "orders",
    [
        b'{"provider": "fax"}',
        b'{"provider": "fcm", "fial": {}}',
        b'{"provider": "fcm", "hang": 2}',
        b'{"provider": "fcm", "fail": {"status": 200}}',
        b'{"provider": "fcm", "latency_ms": -1}',
    ],
)
def test_orders_that_make_no_sense_are_refused(orders: bytes):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(orders, type=FaultPlan)
