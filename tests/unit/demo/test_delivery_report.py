"""The demo's report: sending regions, latencies, the effect of an outage."""

from devtools.demo.delivery_report import ProviderCall, SentTrigger, count_by_region, latencies_ms, outage_report
from devtools.demo.region_outage import RegionOutage
from tests.builders import an_acceptance


def call(
    region: str, notification: str, *, home: str, entered: str = "us", sent: float = 0.0, took: float = 1.0
) -> ProviderCall:
    return ProviderCall(region, an_acceptance(notification, done=sent + took), SentTrigger(sent, entered, home))


def an_outage(commanded_at: float | None = 103.0) -> RegionOutage:
    outage = RegionOutage("asia", "us", 60.0, {})
    outage.killed_at, outage.commanded_at, outage.restarting_at, outage.back_at = 100.0, commanded_at, 160.0, 200.0
    return outage


def test_notifications_are_counted_by_sending_region() -> None:
    calls = [
        call("us", "a", home="us"),
        call("us", "b", home="asia"),
        call("us", "c", home="eu"),
        call("us", "d", home="asia"),
        call("asia", "d", home="asia"),
    ]
    assert count_by_region(calls, an_outage()) == {"home": 1, "standby": 1, "other": 1, "two": 1}
    assert count_by_region(calls, an_outage(commanded_at=None))["other"] == 2


def test_latencies_of_the_other_regions_are_by_the_period_of_the_trigger() -> None:
    calls = [
        call("us", f"{sent}", home="us", sent=sent, took=took) for sent, took in ((50, 1), (120, 2), (170, 3), (210, 4))
    ]
    calls += [
        call("us", "of the killed region", home="asia", sent=104, took=3.5),
        call("us", "entered there", home="us", entered="asia", sent=120, took=50),
    ]
    report = outage_report(calls, an_outage())
    assert {period: values["p50"] for period, values in report["others_ms"].items()} == {
        "before": 1000.0,
        "while it is down": 2000.0,
        "while it starts": 3000.0,
        "after": 4000.0,
    }
    assert (report["away_s"], report["failover_s"]) == (60.0, 4.5)


def test_latencies_are_by_lane() -> None:
    calls = [call("us", "a", home="us", took=0.02), call("us", "b", home="us", took=0.04)]
    assert latencies_ms(calls) == {"standard": {"p50": 20.0, "p90": 40.0, "p99": 40.0, "max": 40.0, "count": 2}}
