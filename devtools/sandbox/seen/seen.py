"""Finds kept messages and decodes those that are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

import msgspec

from devtools.sandbox.seen.kept_messages import KeptMessage
from devtools.sandbox.seen.links import Links, trigger_id_of
from devtools.sandbox.seen.screens import PUSH_READERS, Mail, Push, Sms, read_email, read_sms

#: The newest ones of each channel; the others are found by a search.
MAX_SHOWN: Final = 50
_Read = TypeVar("_Read")


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `push`, `sms` and `mail` are all None if its content could not be decoded."""

    number: int
    #: Unix seconds: when it was accepted.
    at: float
    provider: str
    channel: str
    to: str
    delivery_id: str
    trigger_id: str
    #: 0: the client did not say.
    attempt: int
    critical: bool
    #: So the client marked it.
    possible_duplicate: bool
    #: The same delivery was accepted before.
    is_repeated: bool
    #: A later push on this device has the same collapse key.
    is_replaced: bool
    #: The content was too long to be kept as a whole.
    is_cut: bool
    why: str
    #: None: the address of the region's views is not known.
    notifications_url: str | None
    push: Push | None = None
    sms: Sms | None = None
    mail: Mail | None = None


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What `/seen.json` returns. Lists are newest first and have at most `MAX_SHOWN` messages."""

    query: str
    kept: int
    #: By channel: how many kept messages match the query.
    found: dict[str, int]
    shown: dict[str, list[Shown]]


def search(messages: Sequence[KeptMessage], query: str, links: Links) -> Seen:
    """The messages whose address or id contains `query`; all of them if it is empty."""
    wanted = query.strip().casefold()
    found: dict[str, list[KeptMessage]] = {"push": [], "sms": [], "email": []}
    for one in reversed(messages):
        if wanted in one.to.casefold() or wanted in one.line.delivery_id.casefold():
            found[one.line.channel].append(one)
    chosen = {channel: matches[:MAX_SHOWN] for channel, matches in found.items()}
    repeated = _repeated(messages)
    replaced = _replaced(messages, {one.to for one in chosen["push"]})
    return Seen(
        query=_encodable(query),
        kept=len(messages),
        found={channel: len(matches) for channel, matches in found.items()},
        shown={
            channel: [show(one, links, one.number in repeated, one.number in replaced) for one in matches]
            for channel, matches in chosen.items()
        },
    )


def show(one: KeptMessage, links: Links, is_repeated: bool = False, is_replaced: bool = False) -> Shown:
    """Decode one message."""
    line = one.line
    trigger_id = _encodable(trigger_id_of(line.notification_id))
    return Shown(
        number=one.number,
        at=line.done,
        provider=line.provider,
        channel=line.channel,
        to=_encodable(one.to),
        delivery_id=_encodable(line.delivery_id),
        trigger_id=trigger_id,
        attempt=line.attempt,
        critical=line.critical,
        possible_duplicate=line.possible_duplicate,
        is_repeated=is_repeated,
        is_replaced=is_replaced,
        is_cut=one.is_cut,
        why=links.why(trigger_id),
        notifications_url=links.notifications(trigger_id),
        push=_read_push(one) if line.channel == "push" else None,
        sms=_read(read_sms, one) if line.channel == "sms" else None,
        mail=_read(read_email, one) if line.channel == "email" else None,
    )


def _read_push(one: KeptMessage) -> Push | None:
    return _read(PUSH_READERS[one.line.provider], one)


def _read(read: Callable[[bytes], _Read], one: KeptMessage) -> _Read | None:
    try:
        return read(one.content)
    except Exception:  # anything: parsers have defects, and the other messages are shown all the same
        return None


def _repeated(messages: Iterable[KeptMessage]) -> set[int]:
    """The numbers of messages whose delivery was accepted before."""
    seen: set[str] = set()
    repeated: set[int] = set()
    for one in messages:
        delivery = one.line.delivery_id
        if delivery in seen:
            repeated.add(one.number)
        elif delivery:
            seen.add(delivery)
    return repeated


def _replaced(messages: Sequence[KeptMessage], devices: set[str]) -> set[int]:
    """The numbers of pushes on these devices that a later one with the same collapse key has replaced."""
    later: set[tuple[str, str]] = set()
    replaced: set[int] = set()
    for one in reversed(messages):
        if one.line.channel != "push" or one.to not in devices:
            continue
        push = _read_push(one)
        if push is None or push.collapse_key is None:
            continue
        key = (one.to, push.collapse_key)
        if key in later:
            replaced.add(one.number)
        later.add(key)
    return replaced


def _encodable(text: str) -> str:
    """`text` without lone surrogates, which stand for bytes that are not UTF-8."""
    return text.encode("utf-8", "replace").decode()
