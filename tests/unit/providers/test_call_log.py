"""The sandbox's call log: each call when it arrives, whatever becomes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from devtools.sandbox.call_log import ReceivedCall, read_calls
from devtools.sandbox.fault_injection import Failure, FaultPlan
from devtools.sandbox.intake import MessageIntake
from devtools.sandbox.messages import IncomingMessage
from devtools.sandbox.provider_log import ProviderLogWriter
from tests.waiting import until


@pytest.mark.parametrize(
    ("faults", "action"),
    [
        ({}, "accept"),
        ({"fail": Failure(503)}, "fail"),
        ({"lose_answer": True}, "accept and lose answer"),
        ({"hang": True}, "hang"),
    ],
)
async def test_a_call_is_logged_before_it_ends(tmp_path: Path, faults: dict[str, Any], action: str) -> None:
    intake = MessageIntake(ProviderLogWriter(tmp_path / "accepted"), ProviderLogWriter(tmp_path / "calls"))
    intake.set_faults(FaultPlan("fcm", **faults))
    message = IncomingMessage(1.5, "fcm", "push", "token", {"notify_delivery_id": "d-1"})
    processing = asyncio.create_task(intake.process(message))
    await until(lambda: bool(read_calls(tmp_path / "calls")))
    assert read_calls(tmp_path / "calls") == [ReceivedCall(1.5, "fcm", "d-1", action)]
    assert action == "hang" or (await processing).value == action
    processing.cancel()


def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "calls"
    file.write_bytes(b'{"at":1.5,"provider":"fcm","delivery_id":"d","action":"fail"}\n{"at":2.')
    assert read_calls(file) == [ReceivedCall(1.5, "fcm", "d", "fail")]
