"""Who told whom in the demo, from what the providers noted."""

from types import SimpleNamespace
from typing import Any

from devtools.demo.delivery_report import ProviderCall, SentTrigger, count_by_region, latencies_ms, outage_report
from tests.builders import an_acceptance


def call(
    region: str, notification: str, *, home: str, entered: str = "us", sent: float = 0.0, took: float = 1.0
) -> ProviderCall:
    return ProviderCall(region, an_acceptance(notification, done=sent + took), SentTrigger(sent, entered, home))


def a_loss(commanded_at: float | None = 103.0) -> Any:
    return SimpleNamespace(
        region="asia", standby="us", killed_at=100.0, commanded_at=commanded_at, returning_at=160.0, back_at=200.0
    )


def test_everybody_is_told_by_home_or_by_the_standby_of_who_is_lost_and_twice_is_seen() -> None:
    told = [
        call("us", "a", home="us"),
        call("us", "b", home="asia"),
        call("us", "c", home="eu"),
        call("us", "d", home="asia"),
        call("asia", "d", home="asia"),
    ]
    assert count_by_region(told, a_loss()) == {"home": 1, "standby": 1, "elsewhere": 1, "by two": 1}
    assert count_by_region(told, a_loss(commanded_at=None))["elsewhere"] == 2


def test_the_others_are_told_apart_by_when_their_trigger_was_sent() -> None:
    told = [
        call("us", f"{sent}", home="us", sent=sent, took=took) for sent, took in ((50, 1), (120, 2), (170, 3), (210, 4))
    ]
    told += [
        call("us", "of the lost", home="asia", sent=104, took=3.5),
        call("us", "entered there", home="us", entered="asia", sent=120, took=50),
    ]
    found = outage_report(told, a_loss())
    assert {span: values["p50"] for span, values in found["others_ms"].items()} == {
        "before": 1000.0,
        "while it is away": 2000.0,
        "while it returns": 3000.0,
        "after": 4000.0,
    }
    assert (found["away_s"], found["failover_s"]) == (60.0, 4.5)


def test_latencies_are_of_each_lane() -> None:
    told = [call("us", "a", home="us", took=0.02), call("us", "b", home="us", took=0.04)]
    assert latencies_ms(told) == {"standard": {"p50": 40.0, "p99": 40.0, "max": 40.0, "count": 2}}
