"""The alerts of monitoring/: each fires on its fault and is quiet without it, has a runbook, and reads metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
import yaml
from aiosmtplib import SMTPAuthenticationError

from devtools.faults import cases
from devtools.metrics_page import metrics_page
from devtools.stack.paths import PROJECT
from notify_streams import metrics, retry
from notify_streams.delivery.providers.aws_client import AwsRefusal, WithoutCredentials
from notify_streams.delivery.providers.aws_errors import aws_result
from notify_streams.delivery.providers.http_responses import HttpResponse, error_result
from notify_streams.delivery.providers.provider import ProviderResult
from notify_streams.delivery.providers.smtp import smtp_result
from tests.e2e import alert_faults
from tests.unit.monitoring.test_metrics_page import ROW

MONITORING: Final = PROJECT / "monitoring"
RULES: Final = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
ALERTS: Final[dict[str, dict[str, Any]]] = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
#: Metric → its labels.
LABELS: Final = {name: set(re.findall(r"`(\w+)`", labels)) for name, _, labels, _ in ROW.findall(metrics_page())}
_NAME: Final = re.compile(r"\bnotify_[a-z_]+\b")

#: alert → series with their values at 0, 10 s, 20 s, …: quiet, then the fault, and what each must be after it.
#: Of a counter the second series is one that grows all the time.
FAULTS: Final[dict[str, dict[str, str]]] = {
    "NotifyWorkerGone": {'up{job="notify-streams", instance="a"}': "1x5 0x11 1x40"},
    "NotifyKafkaSilent": {'notify_kafka_silent_seconds{instance="a"}': "5x5 10+10x11 3x40"},
    "NotifyShardSilent": {'notify_shards_silent{instance="a"}': "0x5 1x11 0x40"},
    "NotifyRedisSilent": {'notify_redis_unavailable_total{instance="a"}': "0x5 5+5x11 60x40"},
    "NotifyRegistrySilent": {
        'notify_retrying_seconds{instance="a", call="registry.register"}': "_x6 15+10x11 stale _x40"
    },
    "NotifyRefused": {'notify_refused_by_services{instance="a"}': "0x5 1x11 0x40"},
    "NotifyCallFailing": {'notify_retrying_seconds{instance="a", call="outbox.commit"}': "_x6 15+10x11 stale _x40"},
    "NotifyRegionLinkCut": {'notify_retrying_seconds{instance="a", call="forward"}': "_x6 15+10x11 stale _x40"},
    "NotifyProviderStopped": {'notify_provider_stopped{instance="a", provider="fcm"}': "0x5 1x11 0x40"},
    "NotifyCredentialRefused": {
        'notify_provider_answers_total{provider="fcm", outcome="retry", answer="HTTP 401", code=""}': "_x5 1+3x11 34x40",
        # A person chooses the server that answers so.
        'notify_provider_answers_total{provider="web_push", outcome="retry", answer="HTTP 401", code="401"}': (
            "_x5 1+3x11 34x40"
        ),
    },
    "NotifyStalled": {'notify_stalled_seconds{instance="a", reason="not_processed"}': "0x5 10+10x11 0x40"},
    "NotifyOutboxOld": {'notify_outbox_oldest_seconds{instance="a"}': "0x5 10+10x11 0x40"},
    "NotifyCriticalSlow": {
        'notify_trigger_to_provider_seconds_bucket{lane="critical", channel="push", le="2.0"}': "0+10x5 60x11 70+10x40",
        'notify_trigger_to_provider_seconds_bucket{lane="critical", channel="push", le="5.0"}': "0+10x70",
        'notify_trigger_to_provider_seconds_bucket{lane="critical", channel="push", le="+Inf"}': "0+10x70",
    },
    "NotifyClockStepped": {'notify_clock_seconds{instance="a"}': "0+10x5 360+10x11 170+10x40"},
    "NotifyNotReady": {'notify_ready{instance="a"}': "1x5 0x11 1x40"},
    "NotifyRecordsLost": {'notify_lost_records_total{topic="push"}': "_x6 7x400"},
    "NotifyDeadLetters": {
        'notify_dead_letters_total{reason="invalid"}': "0x5 20+20x11 240x400",
        'notify_triggers_total{outcome="notified"}': "0+100x400",
    },
    "NotifyDeliveriesFail": {
        'notify_deliveries_total{channel="sms", state="failed", reason="provider_rejected"}': "0x5 20+20x11 240x400",
        'notify_deliveries_total{channel="sms", state="sent", reason=""}': "0+100x400",
    },
    "NotifyErasureFailed": {'notify_erasures_total{state="failed"}': "_x6 1x400"},
    "NotifyCategoryPaused": {'notify_category_paused{channel="email", category="offers"}': "0x5 1x11 0x40"},
    "NotifyUnknownCodes": {'notify_provider_unknown_codes_total{provider="twilio"}': "_x6 1x400"},
    "NotifyLagGrows": {'notify_lag_records{topic="push", partition="0"}': "0+1000x70 0x60"},
    "NotifyRetriesLate": {
        'notify_timer_late_seconds_bucket{le="30.0"}': "0+1x5 5x70 5+10x60",
        'notify_timer_late_seconds_bucket{le="60.0"}': "0+1x75 75+10x60",
        'notify_timer_late_seconds_bucket{le="+Inf"}': "0+1x75 75+10x60",
    },
    "NotifyEventLoopLate": {
        'notify_event_loop_lag_seconds_bucket{instance="a", le="0.5"}': "0+100x5 500x70 500+1000x60",
        'notify_event_loop_lag_seconds_bucket{instance="a", le="1.0"}': "0+100x75 7500+1000x60",
        'notify_event_loop_lag_seconds_bucket{instance="a", le="+Inf"}': "0+100x75 7500+1000x60",
    },
    "NotifyRebalances": {'notify_rebalances_total{instance="a"}': "1x5 2+1x11 13x400"},
    "NotifyWebhooksRefused": {'notify_webhooks_total{provider="twilio", result="refused"}': "0x5 5+5x11 60x400"},
}
#: When the alert must be there, and when it must have ended (s). The fault begins at 60 s, and most end at 180 s.
SOON: Final = 90
SLOW: Final = dict.fromkeys(("NotifyNotReady", "NotifyCriticalSlow", "NotifyRebalances"), 150) | dict.fromkeys(
    ("NotifyLagGrows", "NotifyRetriesLate", "NotifyEventLoopLate"), 700
)
ENDED: Final = 240
#: Alerts about what has been stay for a while.
HISTORY: Final = dict.fromkeys(
    ("NotifyDeadLetters", "NotifyDeliveriesFail", "NotifyRebalances", "NotifyWebhooksRefused"), 900
) | dict.fromkeys(("NotifyLagGrows", "NotifyRetriesLate", "NotifyEventLoopLate"), 1300)
ENDED_OF: Final = (
    HISTORY
    | dict.fromkeys(("NotifyRecordsLost", "NotifyErasureFailed", "NotifyUnknownCodes"), 3900)
    | {"NotifyCriticalSlow": 270}
)


def promtool() -> str:
    found = PROJECT / ".cache" / "bin" / "promtool"
    program = str(found) if found.exists() else shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool on this machine: scripts/promtool says why")
    return program


def fires(alert: str, at_s: int, count: int) -> dict[str, Any]:
    expression = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)'
    return {"expr": expression, "eval_time": f"{at_s}s", "exp_samples": [{"labels": "{}", "value": count}]}


def test_each_alert_fires_on_its_fault_within_half_a_minute_and_ends(tmp_path: Path) -> None:
    assert FAULTS.keys() == ALERTS.keys()
    moments = {alert: [(50, 0), (SLOW.get(alert, SOON), 1), (ENDED_OF.get(alert, ENDED), 0)] for alert in FAULTS}
    check([(alert, series, moments[alert]) for alert, series in FAULTS.items()], tmp_path)


def check(cases: list[tuple[str, dict[str, str], list[tuple[int, int]]]], tmp_path: Path) -> None:
    """Of each case the alert, its series, and at which second it fires (1) or not (0)."""
    tests = [
        {
            "name": alert,
            "interval": "10s",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [fires(alert, at_s, count) for at_s, count in moments],
        }
        for alert, series, moments in cases
    ]
    file = tmp_path / "tests.yaml"
    rules = [str(MONITORING / "alerts.yaml")]
    file.write_text(yaml.safe_dump({"rule_files": rules, "evaluation_interval": "5s", "tests": tests}))
    done = subprocess.run([promtool(), "test", "rules", str(file)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_burst_between_two_scrapes_is_seen_although_the_counter_begins_with_it(tmp_path: Path) -> None:
    """A counter with labels is not served before it counts."""
    bursts = {
        "NotifyDeadLetters": {
            'notify_dead_letters_total{instance="a", reason="invalid"}': "_x6 5000x100",
            'notify_triggers_total{instance="a", outcome="dead"}': "_x6 5000x100",
            'notify_triggers_total{instance="a", outcome="notified"}': "0+100x110",
        },
        "NotifyDeliveriesFail": {
            'notify_deliveries_total{instance="a", channel="sms", state="failed", reason="provider_rejected"}': "_x6 3000x100",
            'notify_deliveries_total{instance="a", channel="sms", state="sent", reason=""}': "0+100x110",
        },
        "NotifyWebhooksRefused": {
            'notify_webhooks_total{instance="a", provider="twilio", result="refused"}': "_x6 500x100"
        },
    }
    of_burst = [(alert, one, [(50, 0), (90, 1), (900, 0)]) for alert, one in bursts.items()]
    # A few among many are no fault.
    usual = {
        'notify_dead_letters_total{instance="a", reason="invalid"}': "_x6 5x100",
        'notify_triggers_total{instance="a", outcome="notified"}': "_x6 5000x100",
        'notify_deliveries_total{instance="a", channel="sms", state="failed", reason="provider_rejected"}': "_x6 5x100",
    }
    check([*of_burst, *((alert, usual, [(90, 0)]) for alert in bursts)], tmp_path)


def test_a_role_without_a_worker_is_seen_although_nothing_of_it_is_scraped(tmp_path: Path) -> None:
    """A pod that is deleted, or waits for a node, is no target: there is no `up` of it."""
    build = 'notify_build{{instance="{}", region="us", role="{}", version="{}"}}'.format
    series = {
        build("a", "push", "1"): "1x6 stale _x400",
        # Of this role another version goes on, and the region has another role.
        build("b", "sms", "1"): "1x6 stale _x400",
        build("c", "sms", "2"): "_x6 1x400",
        build("d", "email", "1"): "1x400",
        'up{job="notify-streams", instance="d"}': "1x400",
    }
    check([("NotifyWorkerGone", series, [(60, 0), (150, 1), (1800, 1)])], tmp_path)
    returned = series | {build("e", "push", "2"): "_x20 1x400"}
    check([("NotifyWorkerGone", returned, [(150, 1), (240, 0)])], tmp_path)


def test_a_backlog_that_grows_is_seen_for_as_long_as_it_grows(tmp_path: Path) -> None:
    """At a steady pace it grows by an ever smaller share of itself."""
    hours = [(900, 1), (7200, 1), (14_400, 1)]
    check([("NotifyLagGrows", {'notify_lag_records{topic="push", partition="0"}': "0+1000x1500"}, hours)], tmp_path)
    quiet = [(moment, 0) for moment, _ in hours]
    for values in ("5000000-100x1500", "5000000x1500", "9000x1500"):
        check([("NotifyLagGrows", {'notify_lag_records{topic="push", partition="0"}': values}, quiet)], tmp_path)


#: Each is a `ProviderResult` with `credential_refused`.
REFUSED_CREDENTIALS: Final = (
    *(error_result("twilio", HttpResponse(status, None, b""), None, {}) for status in (401, 403)),
    aws_result("ses", {}, WithoutCredentials("no credentials", begun=False)),
    aws_result("sns", {}, WithoutCredentials("no credentials: TimeoutError", begun=False)),
    aws_result("ses", {}, AwsRefusal(status=403, code="InvalidClientTokenId", message="")),
    *(smtp_result(SMTPAuthenticationError(code, ""), False, connecting=True) for code in (530, 534, 535, 538)),
)


@pytest.mark.parametrize("result", REFUSED_CREDENTIALS, ids=lambda one: f"{one.provider}: {one.detail}")
def test_the_alert_knows_a_refused_credential(result: ProviderResult, tmp_path: Path) -> None:
    assert result.credential_refused
    answer = result.detail.partition(",")[0]
    series = (
        f'notify_provider_answers_total{{provider="{result.provider}", outcome="{result.outcome}", answer="{answer}"}}'
    )
    check([("NotifyCredentialRefused", {series: "_x5 1+3x11 34x40"}, [(50, 0), (90, 1), (240, 0)])], tmp_path)


def test_a_pod_that_starts_is_no_worker_that_is_gone(tmp_path: Path) -> None:
    """It has an address while its image is pulled and its init container waits. One that does not come up at all is seen."""
    up = 'up{job="notify-streams", instance="a"}'
    check([("NotifyWorkerGone", {up: "_x6 0x8 1x100"}, [(90, 0), (140, 0), (400, 0)])], tmp_path)
    check([("NotifyWorkerGone", {up: "_x6 0x300"}, [(90, 0), (240, 1), (2400, 1)])], tmp_path)
    check([("NotifyWorkerGone", {up: "1x300 0x400"}, [(2990, 0), (3030, 1), (6900, 1)])], tmp_path)


def test_each_alert_is_shown_in_a_real_prometheus() -> None:
    """By the twelve faults, or by tests/e2e/test_alerts_fire.py."""
    ours = (*alert_faults.FAULTS.values(), alert_faults.LOSS)
    shown = {alert for fault in cases.FAULTS for alert in fault.alerts} | {
        alert for one in ours for alert in one.alerts
    }
    assert shown == ALERTS.keys()


def known_names() -> set[str]:
    """The names of the samples that `/metrics` may have."""
    found = set()
    for family in metrics.REGISTRY.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        found |= {family.name + suffix for suffix in suffixes}
    assert "notify_retrying_seconds" in found, f"{retry.__name__} registers it"
    return found


def dashboards() -> list[Path]:
    return sorted((MONITORING / "dashboards").glob("*.json"))


def test_alerts_and_dashboards_read_metrics_that_exist() -> None:
    used = {name for rule in ALERTS.values() for name in _NAME.findall(rule["expr"])}
    for file in dashboards():
        used |= set(_NAME.findall(file.read_text()))
    assert used - known_names() == set()


#: What Prometheus adds to every series, and the bound of a bucket.
_ADDED: Final = {"instance", "job", "le"}


def test_alerts_and_dashboards_use_labels_that_these_metrics_have() -> None:
    """Another label would match no series, so the alert could never fire; grouped by it there would be one group."""
    queries = {name: rule["expr"] for name, rule in ALERTS.items()}
    for file in dashboards():
        panels = orjson.loads(file.read_bytes())["panels"]
        queries |= {one["title"]: " ; ".join(target["expr"] for target in one.get("targets", [])) for one in panels}
    for place, query in queries.items():
        names = {re.sub("_(bucket|sum|count)$", "", name) for name in _NAME.findall(query)}
        for name, matchers in re.findall(r"\b(notify_[a-z_]+?)(?:_bucket|_sum|_count)?\{([^}]*)\}", query):
            used = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', "", matchers)))
            assert used - _ADDED <= LABELS[name], (place, name)
        for grouped in re.findall(r"\b(?:by|on) \(([^)]*)\)", query):
            known = set().union(*(LABELS.get(name, set()) for name in names))
            assert set(re.findall(r"\w+", grouped)) - _ADDED <= known, (place, grouped)


def test_each_alert_has_a_paragraph_in_the_runbooks_and_each_paragraph_an_alert() -> None:
    headings = re.findall(r"^## (Notify\w+)$", (PROJECT / "docs" / "runbooks.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}"
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_each_dashboard_is_one_that_grafana_imports() -> None:
    """The fields that Grafana's import needs; each panel has a place of its own, a title, a unit and a query that promtool can read."""
    assert dashboards()
    for file in dashboards():
        board = orjson.loads(file.read_bytes())
        assert {"title", "uid", "schemaVersion", "panels", "templating", "time", "refresh"} <= board.keys()
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
            taken |= cells
            if panel["type"] == "row":
                continue
            assert panel["title"] and panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["targets"], panel["title"]


def test_the_queries_of_the_dashboards_are_valid(tmp_path: Path) -> None:
    queries = [
        target["expr"].replace("$instance", ".*")
        for file in dashboards()
        for panel in orjson.loads(file.read_bytes())["panels"]
        for target in panel.get("targets", [])
    ]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([promtool(), "check", "rules", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
