"""Attempts: the append-only history of deliveries.

A delivery's state is a fold over its attempts. ``_id`` is binary: 4 bytes time of the decision in seconds, 12 bytes hash of the delivery
id, 2 bytes number of the attempt, 1 byte phase, 3 bytes of the owner's token. So the attempts of a delivery are one range, expired ones
are the first range, and no two calls have the same id. A document holds no contact and no user id.
"""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import msgspec

from notify_streams.delivery.provider_ids import PROVIDER_KEY, provider_key
from notify_streams.records.outcomes import DeliveryState
from notify_streams.tracing.trace_context import TRACEPARENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from notify_streams.stores.mongo import Document

KEY_BYTES: Final = 16
_SECOND_BYTES: Final = 4
OWNER_BYTES: Final = 3
_REST_BYTES: Final = 2 + 1 + OWNER_BYTES
_MAX_ATTEMPT: Final = 0xFFFF
_HASH_BYTES: Final = 12
#: Of the `_id` of an attempt.
ID_BYTES: Final = KEY_BYTES + _REST_BYTES


class Phase(IntEnum):
    """What an attempt document records. `fold` leaves out one of a phase that only a later release has."""

    #: the end of a call, a refusal before it, or a call that is parked
    CALL = 0
    #: the answer to a parked call
    ANSWER = 1
    #: a provider's receipt
    RECEIPT = 2


class Rank(IntEnum):
    """Order of the states. `DeliveryStatus.last` says which attempt gives a delivery its state."""

    RETRYING = 20
    EXPIRED = 30
    SUPPRESSED = 40
    FAILED = 50
    SENT = 60
    FAILED_BY_RECEIPT = 70
    #: The receipt says failed, and a timer makes another attempt.
    RETRYING_BY_RECEIPT = 75
    DELIVERED = 80


STATES: Final[Mapping[int, DeliveryState]] = {
    Rank.RETRYING: DeliveryState.RETRYING,
    Rank.EXPIRED: DeliveryState.EXPIRED,
    Rank.SUPPRESSED: DeliveryState.SUPPRESSED,
    Rank.FAILED: DeliveryState.FAILED,
    Rank.SENT: DeliveryState.SENT,
    Rank.FAILED_BY_RECEIPT: DeliveryState.FAILED,
    Rank.RETRYING_BY_RECEIPT: DeliveryState.RETRYING,
    Rank.DELIVERED: DeliveryState.DELIVERED,
}
_PHASES: Final = frozenset(Phase)


class DeviceOutcome(msgspec.Struct, frozen=True, gc=False, array_like=True, omit_defaults=True):
    """How the call for one of a person's devices ended."""

    #: See `records.devices.token_sha`.
    token_sha: str
    provider: str
    #: One of `ProviderOutcome`.
    outcome: str
    code: str | None = None
    #: Of the text that was sent, if it is another one than that of the attempt.
    template_version: str | None = None


class Attempt(msgspec.Struct, frozen=True, gc=False, array_like=True, omit_defaults=True):
    """The content of one attempt document, packed as an array."""

    rank: int
    #: milliseconds since the epoch
    at_ms: int
    reason: str | None = None
    provider: str | None = None
    #: the provider's id of the accepted message
    provider_id: str | None = None
    #: the provider's status or error code
    code: str | None = None
    #: an earlier call with an unknown result may have been accepted
    in_doubt: bool = False
    #: of an SMS: the segments of its text
    segments: int | None = None
    #: locale and content hash of the template that was rendered for the person, `de:1f0c22ab41e7`; None for a trigger's own text
    template_version: str | None = None
    #: of a push to the devices of a person: each that was called; None for a single token
    devices: tuple[DeviceOutcome, ...] | None = None
    #: how long the call took, or has taken without an answer, in milliseconds; None: there was no call
    took_ms: int | None = None
    #: of the first attempt: from when Kafka took the message to `at_ms`, in milliseconds
    since_published_ms: int | None = None
    #: the address that was called (`records.masks.masked`); None: no call, or several devices
    to: str | None = None
    #: an earlier call may have been accepted: this one was marked for the provider as a possible duplicate
    possible_duplicate: bool = False
    #: an operator, or a receipt that says failed, asked for it after the delivery had ended
    replay: bool = False

    @property
    def state(self) -> DeliveryState:
        """Of a rank that only a later release has: that of the rank below it."""
        found = STATES.get(self.rank)
        return STATES[max((one for one in Rank if one < self.rank), default=Rank.RETRYING)] if found is None else found

    @property
    def was_accepted(self) -> bool:
        """Whether a provider took the message. It is `retrying` as long as a call for another device must be made again."""
        return self.rank == Rank.SENT or any(one.outcome == "accepted" for one in self.devices or ())


class Call(msgspec.Struct, frozen=True, gc=False):
    """What is known of one attempt: the highest of its documents without a receipt, and the highest receipt."""

    ended: Attempt | None = None
    receipt: Attempt | None = None

    @property
    def result(self) -> Attempt:
        """A receipt that says failed is about a call that the provider had accepted; of another call it says nothing new."""
        ended, receipt = self.ended, self.receipt
        if ended is None or (receipt is not None and (ended.rank == Rank.SENT or receipt.rank == Rank.DELIVERED)):
            assert receipt is not None, "a call has a document"
            return receipt
        return ended


class DeliveryStatus(msgspec.Struct, frozen=True, gc=False):
    """The state of one delivery that has attempts."""

    #: By number of the attempt; 0 has the receipts that do not name theirs.
    calls: dict[int, Call]
    #: a call with an unknown result may have been accepted
    in_doubt: bool = False
    #: the highest attempt that reached a provider
    called: Attempt | None = None

    @property
    def state(self) -> DeliveryState:
        return self.last.state

    @property
    def attempts(self) -> int:
        """Number of the last attempt."""
        return max(self.calls)

    @property
    def was_accepted(self) -> bool:
        """Whether a provider accepted a call, whatever it reported later."""
        return any(call.ended is not None and call.ended.was_accepted for call in self.calls.values())

    @property
    def last(self) -> Attempt:
        """The attempt that gives the delivery its state.

        Delivered, if one was. Else a call that was accepted and did not fail by a receipt. If all of those failed by a receipt: what the
        attempts after the last of them led to, or that receipt. Without such calls the highest one of all.
        """
        results = {number: call.result for number, call in self.calls.items()}
        sent = [number for number, result in results.items() if result.rank == Rank.SENT]
        if 0 in results and len(results) > 1 and results[0].rank != Rank.DELIVERED:
            # It does not name its call: it is about the last one that was accepted.
            receipt = results.pop(0)
            if sent:
                results[max(sent)] = receipt
        for rank in (Rank.DELIVERED, Rank.SENT):
            if best := [result for result in results.values() if result.rank == rank]:
                return max(best, key=_order)
        failed = [number for number, result in results.items() if result.rank >= Rank.FAILED_BY_RECEIPT]
        return results[max(results)] if failed else max(results.values(), key=_order)


pack: Final = msgspec.msgpack.Encoder().encode
unpack: Final = msgspec.msgpack.Decoder(Attempt).decode


def delivery_key(delivery_id: str, decided_s: float) -> bytes:
    """The first 16 bytes of the ids of a delivery's attempts; also the `_id` of its timer.

    `decided_s`: Unix seconds.
    """
    return int(decided_s).to_bytes(_SECOND_BYTES, "big") + delivery_digest(delivery_id)


def has_key(decided_s: float) -> bool:
    """Whether a delivery that was decided at this time (Unix seconds) can have a key: from 1970 to 2106."""
    return 0 <= decided_s < 1 << 8 * _SECOND_BYTES


def delivery_digest(delivery_id: str) -> bytes:
    """The part of a delivery's key that does not depend on the time."""
    return blake2b(delivery_id.encode(), digest_size=_HASH_BYTES).digest()


def digest_of(identity: bytes) -> bytes:
    """The `delivery_digest` within a delivery key, or the `_id` of an attempt."""
    return identity[_SECOND_BYTES:KEY_BYTES]


def attempt_document(
    key: bytes, bucket: int, number: int, phase: Phase, owner: bytes, attempt: Attempt, traceparent: str | None = None
) -> dict[str, Any]:
    """The document of one attempt, with the key by which its provider's id is found.

    Args:
        owner: the first bytes of the worker's token.
        traceparent: the span of the call, of a delivery that is traced.
    """
    document: dict[str, Any] = {
        "_id": b"%b%b%c%b" % (key, min(number, _MAX_ATTEMPT).to_bytes(2, "big"), phase, owner[:OWNER_BYTES]),
        "bucket": bucket,
        "p": pack(attempt),
    }
    if traceparent is not None:
        document[TRACEPARENT] = traceparent
    if (
        attempt.provider_id is not None
        and (number_of_id := provider_key(attempt.provider, attempt.provider_id, attempt.at_ms)) is not None
    ):
        document[PROVIDER_KEY] = number_of_id
    return document


def key_range(key: bytes) -> dict[str, bytes]:
    """The `_id` range of a delivery's attempts. The bounds have the length of an `_id`, because MongoDB orders binaries by length first."""
    return {"$gte": key + b"\0" * _REST_BYTES, "$lte": key + b"\xff" * _REST_BYTES}


def before_second(second: int) -> dict[str, bytes]:
    """The `_id` range of the attempts of deliveries decided before `second` (since the epoch)."""
    return {"$lt": second.to_bytes(4, "big") + b"\0" * (_HASH_BYTES + _REST_BYTES)}


def key_of(identity: bytes) -> bytes:
    """The delivery key within the `_id` of an attempt."""
    return identity[:KEY_BYTES]


def number_of(identity: bytes) -> int:
    """The number of the attempt within its `_id`."""
    return int.from_bytes(identity[KEY_BYTES : KEY_BYTES + 2], "big")


def phase_of(identity: bytes) -> Phase:
    """What the attempt with this `_id` records.

    Raises:
        ValueError: only a later release knows it (`has_known_phase`).
    """
    return Phase(identity[KEY_BYTES + 2])


def has_known_phase(identity: bytes) -> bool:
    """Whether `phase_of` has an answer."""
    return identity[KEY_BYTES + 2] in _PHASES


def fold(documents: Iterable[Document]) -> dict[bytes, DeliveryStatus]:
    """The status of each delivery, by its key. The order of the documents does not matter."""
    found: dict[bytes, DeliveryStatus] = {}
    for document in documents:
        identity: bytes = document["_id"]
        if not has_known_phase(identity):
            continue
        key = key_of(identity)
        attempt = unpack(document["p"])
        is_receipt = phase_of(identity) is Phase.RECEIPT
        call = Call(receipt=attempt) if is_receipt else Call(attempt)
        called = None if is_receipt or attempt.provider is None else attempt
        one = DeliveryStatus({number_of(identity): call}, attempt.in_doubt, called)
        before = found.get(key)
        found[key] = one if before is None else later(before, one)
    return found


def later(one: DeliveryStatus, other: DeliveryStatus) -> DeliveryStatus:
    """The status of a delivery with the attempts of both: commutative, associative, idempotent."""
    calls = dict(one.calls)
    for number, call in other.calls.items():
        mine = calls.get(number)
        calls[number] = (
            call if mine is None else Call(_higher(mine.ended, call.ended), _higher(mine.receipt, call.receipt))
        )
    return DeliveryStatus(calls, one.in_doubt or other.in_doubt, _higher(one.called, other.called))


def _higher(one: Attempt | None, other: Attempt | None) -> Attempt | None:
    return max((attempt for attempt in (one, other) if attempt is not None), key=_order, default=None)


def _order(attempt: Attempt) -> tuple[int, int, bytes]:
    return attempt.rank, attempt.at_ms, pack(attempt)
