"""The sink's access log: what it accepted, and what is missing in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from devtools.benchmarks.rates import RecordsMissing, steady_rate
from notify_streams.admin.audit.provider_log import AcceptedMessage, contact_sha
from notify_streams.errors import NotifyError
from notify_streams.field_errors import DECODE_ERRORS
from notify_streams.records.names import MARK_PREFIX

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

#: `log_format` of nginx that `read_line` reads, with `escape=json`.
FORMAT: Final = '{"at":$msec,"status":"$status","body":"$request_body"}'
_ACCEPTED: Final = "200"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One request that the sink answered with 200."""

    #: Unix seconds, when the response was written.
    at: float
    delivery_id: str
    notification_id: str
    attempt: int
    possible_duplicate: bool
    token: str
    #: As it arrived.
    body: bytes

    @property
    def trigger_id(self) -> str:
        """A notification's id is its trigger's with a digest without a hyphen behind it."""
        return self.notification_id.rpartition("-")[0]


class _Line(msgspec.Struct):
    at: float
    status: str
    body: str


class _Message(msgspec.Struct):
    token: str
    data: dict[str, str]


class _Request(msgspec.Struct):
    message: _Message


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_request = msgspec.json.Decoder(_Request).decode


def read_log(lines: Iterable[bytes]) -> list[Acceptance]:
    """The acceptances in a log.

    Raises:
        NotifyError: a line is not one of an accepted message: the run has no figure.
    """
    return [read_line(line) for line in lines]


def read_line(line: bytes) -> Acceptance:
    """See `read_log`."""
    try:
        found = _decode_line(line)
        message = _decode_request(found.body).message
    except DECODE_ERRORS as error:
        raise NotifyError(f"the sink's log has a line that cannot be read ({error}): no figure") from None
    if found.status != _ACCEPTED:
        raise NotifyError(f"the sink answered a request with {found.status}: no figure")
    delivery_id = _metadata(message.data, "delivery_id")
    if not delivery_id:
        raise NotifyError("the sink got a message without a delivery id: no figure")
    return Acceptance(
        found.at,
        delivery_id,
        _metadata(message.data, "notification_id"),
        int(_metadata(message.data, "attempt") or 0),
        _metadata(message.data, "possible_duplicate") == "1",
        message.token,
        found.body.encode(),
    )


def _metadata(data: Mapping[str, str], name: str) -> str:
    """Older checkouts wrote the names without a prefix."""
    return data.get(MARK_PREFIX + name) or data.get(name, "")


def all_accepted(case: str, found: Sequence[Acceptance], trigger_ids: Collection[str]) -> None:
    """Check that each of these triggers was accepted, and nothing else.

    Raises:
        RecordsMissing: some are missing.
        NotifyError: the sink got messages of other triggers.
    """
    arrived = {one.trigger_id for one in found}
    wanted = set(trigger_ids)
    if missing := wanted - arrived:
        raise RecordsMissing(f"{case}, without {min(missing)}", len(wanted) - len(missing), len(wanted))
    if foreign := arrived - wanted:
        again = [one for one in found if one.trigger_id in foreign]
        marked = sum(one.possible_duplicate for one in again)
        raise NotifyError(
            f"{case}: {len(again)} messages of other triggers, such as attempt {again[0].attempt} of {again[0].trigger_id}"
            f" ({marked} marked as possible duplicates): no figure"
        )


def accepted_per_s(found: Sequence[Acceptance]) -> float:
    """Acceptances per second over the middle 80 %.

    Raises:
        NotifyError: too few to measure.
    """
    moments = sorted(one.at for one in found)
    return steady_rate(list(zip(moments, range(1, len(moments) + 1), strict=True)), len(moments))


def provider_log(found: Iterable[Acceptance]) -> bytes:
    """The same as a provider log, which the audit reads."""
    encode: Any = msgspec.json.Encoder().encode
    return b"".join(
        encode(
            AcceptedMessage(
                at=one.at,
                done=one.at,
                provider="fcm",
                channel="push",
                delivery_id=one.delivery_id,
                notification_id=one.notification_id,
                attempt=one.attempt,
                possible_duplicate=one.possible_duplicate,
                critical=False,
                to_sha=contact_sha(one.token),
            )
        )
        + b"\n"
        for one in found
    )
