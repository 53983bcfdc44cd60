"""Sends triggers on schedule and times each."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from devtools.benchmarks.router.load import TOPIC
from devtools.load.open_loop import SingleSender, at_rate
from notify_streams.errors import NotifyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devtools.benchmarks.arrival_timer import ArrivalTimer

_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class ExpectedMessages:
    """A trigger to send, and the topics on which its messages must appear."""

    trigger_id: str
    user_id: str
    value: bytes
    topics: frozenset[str]


class _Ids(msgspec.Struct):
    """A channel message has the trigger's id; the baseline publishes the trigger itself."""

    trigger_id: str = ""
    id: str = ""


_decode = msgspec.json.Decoder(_Ids).decode


def trigger_id_of(value: bytes) -> str:
    """The trigger that a record on a channel topic belongs to."""
    found = _decode(value)
    return found.trigger_id or found.id


async def time_triggers(
    sender: SingleSender, timer: ArrivalTimer, triggers: Sequence[ExpectedMessages], rate: float, timeout_s: float
) -> list[float]:
    """Send `rate` triggers a second; for each the seconds from Kafka's acknowledgement until its last message was readable.

    `timer`: uses `time.monotonic` and `trigger_id_of`.

    Raises:
        NotifyError: a message has not arrived `timeout_s` after the last acknowledgement.
    """
    acknowledged: dict[str, float] = {}

    async def send(number: int, due: float) -> None:
        one = triggers[number]
        acknowledged[one.trigger_id] = await sender.send(TOPIC, one.user_id, one.value)

    await at_rate(len(triggers), 1 / rate, send)
    until = time.monotonic() + timeout_s
    while missing := [
        one.trigger_id for one in triggers if any(one.trigger_id not in timer.arrived[topic] for topic in one.topics)
    ]:
        if time.monotonic() > until:
            raise NotifyError(
                f"{len(missing)} of {len(triggers)} triggers lack channel messages {timeout_s:.0f} s after the last was sent, "
                f"such as {missing[0]}: no figure"
            )
        await asyncio.sleep(_POLL_S)
    return [
        max(timer.arrived[topic][one.trigger_id] for topic in one.topics) - acknowledged[one.trigger_id]
        for one in triggers
    ]
