"""`bench delivery`: no figure for a delivery that the sink's log does not have, and none that a reference was not beside."""

import json
import os
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from devtools.benchmarks.delivery.access_log import accepted_per_s, all_accepted, provider_log, read_log
from devtools.benchmarks.delivery.checkout_region import check_audit
from devtools.benchmarks.delivery.references import AIOHTTP, GO
from devtools.benchmarks.delivery.report import (
    ALONE,
    FLOW,
    MONGODB_CPU,
    NEW,
    OLD,
    RENDERING,
    SENDER_RATE,
    WITH_TEMPLATES,
    WITHOUT_TEMPLATES,
    WORKER_CPU,
    case,
    report,
)
from devtools.benchmarks.delivery.sink import connections_in
from devtools.cpu import cpu_s, cpu_s_in
from notify_streams.admin.audit.provider_log import AcceptedMessage
from notify_streams.errors import NotifyError

TICKS = os.sysconf("SC_CLK_TCK")


def a_line(number: int, *, prefix: str = "notify_", status: str = "200", at: float = 0.0, **data: str) -> bytes:
    """As nginx writes it: the body is one escaped string."""
    metadata = {"delivery_id": f"run-{number}-d1.push", "notification_id": f"run-{number}-d1", "attempt": "1"} | data
    message = {"token": "token-1", "data": {"order": 'a "b"'} | {prefix + key: text for key, text in metadata.items()}}
    return json.dumps({"at": at, "status": status, "body": json.dumps({"message": message})}).encode()


def test_a_line_of_the_log_tells_delivery_and_body() -> None:
    (found,) = read_log([a_line(7, at=12.345)])
    assert (found.at, found.delivery_id, found.trigger_id, found.attempt) == (12.345, "run-7-d1.push", "run-7", 1)
    assert json.loads(found.body)["message"]["data"]["order"] == 'a "b"'
    assert not found.possible_duplicate


def test_an_older_checkout_wrote_the_names_without_a_prefix() -> None:
    (found,) = read_log([a_line(7, prefix="", possible_duplicate="1")])
    assert found.delivery_id == "run-7-d1.push" and found.possible_duplicate


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (a_line(1, status="400"), "answered a request with 400"),
        (a_line(1, delivery_id=""), "without a delivery id"),
        (b'{"at":1.0,"status":"200","body":""}', "cannot be read"),
        (b'{"at":1.0,"sta', "cannot be read"),
    ],
    ids=["refused", "no delivery id", "no body", "half a line"],
)
def test_another_line_leaves_no_figure(line: bytes, message: str) -> None:
    with pytest.raises(NotifyError, match=f"{message}.*no figure"):
        read_log([a_line(0), line])


def accepted(numbers: Sequence[int]) -> Any:
    return read_log(a_line(number, at=number / 100) for number in numbers)


def test_a_missing_delivery_leaves_no_figure() -> None:
    with pytest.raises(NotifyError, match=r"flow, without run-1: 2 of 3 .*no figure"):
        all_accepted("flow", accepted([0, 2, 2]), ["run-0", "run-1", "run-2"])


def test_so_does_a_message_of_another_run() -> None:
    with pytest.raises(NotifyError, match=r"other triggers, such as attempt 1 of run-3"):
        all_accepted("flow", accepted([0, 3]), ["run-0"])


def test_a_repeat_is_left_to_the_audit() -> None:
    all_accepted("flow", accepted([0, 0]), ["run-0"])


def test_the_rate_is_of_the_middle() -> None:
    # The first ten take a second each, the others 10 ms each.
    found = read_log(a_line(number, at=min(number, 10) + number / 100) for number in range(200))
    assert accepted_per_s(found) == pytest.approx(100)


def test_the_audit_can_read_the_log() -> None:
    (line,) = provider_log(accepted([5])).splitlines()
    found = msgspec.json.decode(line, type=AcceptedMessage)
    assert (found.delivery_id, found.channel, found.done) == ("run-5-d1.push", "push", 0.05)


@pytest.mark.parametrize(
    ("out", "says"),
    [
        (b'{"holds": true}', None),
        (
            b'{"holds": false, "differences": [], "in_flight": [{"check": "deliveries under way"}]}',
            "deliveries under way",
        ),
        (
            b'{"holds": false, "differences": [{"check": "sent but never accepted"}], "in_flight": []}',
            "sent but never accepted",
        ),
        (b"", "failed"),
    ],
    ids=["holds", "a state that is not final", "a difference", "no report"],
)
def test_no_figure_without_a_full_account(out: bytes, says: str | None) -> None:
    if says is None:
        check_audit("old checkout", out)
    else:
        with pytest.raises(NotifyError, match=f"old checkout: the audit .*{says}.*no figure"):
            check_audit("old checkout", out)


def test_cpu_is_user_and_system_time() -> None:
    fields = ["S"] + ["0"] * 10 + [str(3 * TICKS), str(TICKS // 2)] + ["9"] * 20
    assert cpu_s_in(f"12 (a (program) 1 2) {' '.join(fields)}") == 3.5


def test_connections_are_those_that_were_accepted() -> None:
    status = (
        "Active connections: 3 \nserver accepts handled requests\n 259 258 20000 \nReading: 0 Writing: 1 Waiting: 2 \n"
    )
    assert connections_in(status) == 259


def test_our_own_cpu_time_is_in_proc() -> None:
    assert cpu_s(os.getpid()) == pytest.approx(time.process_time(), abs=3 / TICKS)


RUNS = {
    case(NEW, WORKER_CPU): [100.0, 900.0, 110.0],
    case(OLD, WORKER_CPU): [1200.0, 1200.0, 1200.0],
    case(WITH_TEMPLATES, WORKER_CPU): [114.0, 110.0, 900.0, 100.0],
    case(WITHOUT_TEMPLATES, WORKER_CPU): [98.0, 98.0, 98.0, 98.0],
    RENDERING: [8.0],
    case(NEW, MONGODB_CPU): [40.0],
    case(OLD, MONGODB_CPU): [380.0],
    case(NEW, ALONE): [6000.0],
    case(OLD, ALONE): [700.0],
    case(AIOHTTP, SENDER_RATE): [3000.0],
    case(GO, SENDER_RATE): [10_000.0],
    case(NEW, FLOW): [3200.0],
    case(OLD, FLOW): [500.0],
}


def judged(found: Any) -> Any:
    return [(one["name"], one["reference"], one["holds"]) for one in found["figures"] if one["goal"]]


def test_every_target_is_judged_by_medians() -> None:
    found = report(RUNS, [])
    assert found["holds"] and len(judged(found)) == 8
    assert next(one["value"] for one in found["figures"] if one["name"] == WORKER_CPU) == 110


@pytest.mark.parametrize(
    ("but", "misses"),
    [
        ({case(OLD, WORKER_CPU): [659.0] * 3}, case(OLD, WORKER_CPU)),
        ({case(WITHOUT_TEMPLATES, WORKER_CPU): [97.0] * 4}, case(WITHOUT_TEMPLATES, WORKER_CPU)),
        ({RENDERING: [21.0]}, None),
        ({case(NEW, MONGODB_CPU): [48.0]}, case(OLD, MONGODB_CPU)),
        ({case(AIOHTTP, SENDER_RATE): [4001.0]}, case(AIOHTTP, SENDER_RATE)),
        ({case(GO, SENDER_RATE): [15_001.0]}, case(GO, SENDER_RATE)),
        ({case(OLD, ALONE): [1001.0]}, case(OLD, ALONE)),
        ({case(OLD, FLOW): [534.0]}, case(OLD, FLOW)),
    ],
)
def test_each_target_can_be_missed(but: Any, misses: str | None) -> None:
    found = report(RUNS | but, [])
    assert not found["holds"]
    assert [reference for _, reference, holds in judged(found) if not holds] == [misses]


def test_a_reference_that_was_not_measured_is_said_and_not_judged() -> None:
    runs = {name: values for name, values in RUNS.items() if not name.startswith((GO, OLD))}
    found = report(runs, [f"{GO}: not measured: no Go"])
    assert [reference for _, reference, _ in judged(found)] == [
        case(WITHOUT_TEMPLATES, WORKER_CPU),
        None,
        case(AIOHTTP, SENDER_RATE),
    ]
    assert found["not_measured"] == ["Go net/http: not measured: no Go"]
