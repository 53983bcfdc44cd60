"""Sealed sums in the audit: each period closes, and is the beginning of the next.

They prove what retention and time to live have deleted. What is still there is compared with what was counted since the last period that may
have lost something: its *base*.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pymongo.errors import PyMongoError

from notify_streams.delivery.delivery_ledger import COUNTS, POSITIONS, delivery_sums_close
from notify_streams.errors import StoreUnavailable
from notify_streams.outbox.flush_plan import COUNTED
from notify_streams.outbox.flush_plan import POSITIONS as ROUTER_POSITIONS
from notify_streams.outbox.ledger import sums_close
from notify_streams.roles import CHANNEL_ROLES
from notify_streams.stores.mongo import SEALED_SUMS
from notify_streams.stores.mongo_errors import mongo_reason
from notify_streams.stores.sealed_sums import counts_of, opening_of

if TYPE_CHECKING:
    from notify_streams.stores.mongo import Document, Shards

_AT_ONCE: Final = 5_000
_ROUTER_ZEROES: Final = dict.fromkeys((*ROUTER_POSITIONS, *COUNTED.values()), 0)
_DELIVERY_ZEROES: Final = dict.fromkeys(COUNTS, 0)
#: What is compared from a base on: counts of ledgers by the records or documents that they counted.
KINDS: Final = ("notified", "dead", "forwarded", "repartitioned", "waiting")
_Flat = Mapping[str, int]


def closes(document: Mapping[str, Any]) -> bool:
    """Whether the closing counts of sealed sums add up."""
    places = {"first_offset": document["first_offset"]} | document["closing"]
    if document["role"] in CHANNEL_ROLES:
        return delivery_sums_close(_DELIVERY_ZEROES | places)
    return sums_close(_ROUTER_ZEROES | places)


def sums_of(document: Mapping[str, Any]) -> dict[str, int]:
    """What the period counted: ``taken``, ``queued.push``, ``dead_reasons.invalid`` and so on; `next_offset` is how far it moved."""
    opening, closing = flat(document["opening"]), flat(document["closing"])
    return {name: closing.get(name, 0) - opening.get(name, 0) for name in closing.keys() | opening.keys()}


def flat(counts: Mapping[str, Any]) -> dict[str, int]:
    """Counts with those in objects as ``<object>.<name>``; without those that are 0."""
    found: dict[str, int] = {}
    for name, value in counts.items():
        if isinstance(value, dict):
            found |= {f"{name}.{key}": count for key, count in value.items() if count}
        elif value:
            found[name] = value
    return found


@dataclass(frozen=True, slots=True)
class Wrong:
    """What does not hold: where (id of sealed sums, and the count), and the two numbers that should be equal."""

    where: str
    expected: int
    found: int


class SealedLedger:
    """Follows the periods of one ledger in their order."""

    def __init__(self) -> None:
        self.last: Mapping[str, Any] | None = None

    def add(self, document: Mapping[str, Any]) -> Iterator[Wrong]:
        """What is wrong with the next period."""
        last, self.last = self.last, document
        if last is not None and last["partitions"] != document["partitions"]:
            # A ledger goes on when its region grows, unless it is made anew.
            last = None if document["opening"] == opening_of(document) else last
        before = opening_of(document) if last is None else last["closing"]
        if document["opening"] != before:
            yield from _unequal(document["_id"], flat(before), flat(document["opening"]))
        if last is not None and document["period_begin"] != last["period_end"]:
            yield Wrong(
                f"{document['_id']} period_begin", _seconds(last["period_end"]), _seconds(document["period_begin"])
            )
        if not closes(document):
            closing = document["closing"]
            names = POSITIONS if document["role"] in CHANNEL_ROLES else ROUTER_POSITIONS
            moved = document["first_offset"] + sum(closing.get(name, 0) for name in names)
            yield Wrong(f"{document['_id']} closing", closing["next_offset"], moved)
        yield from _decreased(document["_id"], document["opening"], document["closing"])

    def end(self, ledger: Mapping[str, Any]) -> Iterator[Wrong]:
        """What is wrong between the last period and the ledger."""
        sealed_to = ledger.get("sealed_to")
        last_end = None if self.last is None else self.last["period_end"]
        if sealed_to is None:
            return
        if sealed_to != last_end:
            yield Wrong(f"{ledger['_id']} sealed_to", _seconds(sealed_to), _seconds(last_end))
        if self.last is not None:
            yield from _decreased(ledger["_id"], self.last["closing"], counts_of(ledger))


#: (kind, topic, partition) → since when everything that it counts is there (Unix seconds); 0: nothing was deleted so far.
Since = Callable[[str, str, int], float]


@dataclass(slots=True)
class SealedSums:
    """The sealed sums of one region."""

    count: int = 0
    first: datetime | None = None
    last: datetime | None = None
    wrong: list[Wrong] = field(default_factory=list)
    #: By kind and ledger: the counts from which on it is compared. Missing: from the ledger's first record on.
    bases: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)

    def base(self, kind: str, ledger: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.bases.get((kind, ledger["_id"])) or opening_of(ledger)

    def since_base(self, kind: str, ledger: Mapping[str, Any]) -> int:
        """What the ledger has counted since its base."""
        return int(ledger.get(kind, 0) - self.base(kind, ledger).get(kind, 0))

    def end(self, chain: SealedLedger, bases: _Bases | None) -> None:
        """All periods of a ledger are added; None: one of another number of partitions."""
        if bases is not None:
            bases.end()
            self.wrong += chain.end(bases.ledger)
            self.bases |= {(kind, bases.ledger["_id"]): counts for kind, counts in bases.found.items()}

    def add(self, document: Mapping[str, Any]) -> None:
        end = document["period_end"]
        self.count += 1
        self.first = end if self.first is None else min(self.first, end)
        self.last = end if self.last is None else max(self.last, end)

    def summary(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "first": None if self.first is None else self.first.isoformat(),
            "last": None if self.last is None else self.last.isoformat(),
            "holds": not self.wrong,
        }


class _Bases:
    """Chooses the bases of one ledger while its periods are read."""

    def __init__(self, ledger: Mapping[str, Any], since: Since, kept_since: float) -> None:
        self.ledger = ledger
        self._kept_since = kept_since
        self._since = {kind: since(kind, ledger["topic"], ledger["partition"]) for kind in KINDS[1:]}
        #: Without a period that was sealed after everything is there, nothing of a kind is compared.
        self.found: dict[str, Mapping[str, Any]] = {kind: counts_of(ledger) for kind, at in self._since.items() if at}
        self._open = set(self.found)

    def add(self, document: Mapping[str, Any]) -> None:
        closing = document["closing"]
        # What an earlier release counted names no period.
        if document["period_end"].timestamp() <= self._kept_since or document["period_begin"] is None:
            self.found["notified"] = closing
        for kind in [one for one in self._open if document["sealed_at"].timestamp() >= self._since[one]]:
            self.found[kind] = closing
            self._open.discard(kind)

    def end(self) -> None:
        """Also the open period may be over for so long that all that it counted is deleted."""
        end = self.ledger.get("period_end")
        if end is not None and end.timestamp() <= self._kept_since:
            self.found["notified"] = counts_of(self.ledger)


async def read_sealed_sums(
    shards: Shards,
    ledgers: Collection[Mapping[str, Any]],
    since: Since,
    kept_since: Callable[[int], float],
) -> SealedSums:
    """Check the sealed sums of a region, and choose the bases. Periods that were sealed after `ledgers` were read are left out.

    Args:
        since: see `Since`.
        kept_since: bucket → notifications of periods that end by then may have been deleted (Unix seconds).

    Raises:
        StoreUnavailable: a shard does not answer.
    """
    sums = SealedSums()
    partitions = len(shards.all_buckets())
    left = {one["_id"]: one for one in ledgers}
    try:
        for shard in range(len(shards)):
            here = {"bucket": {"$in": shards.buckets(shard)}}
            cursor = shards.database(shard)[SEALED_SUMS].find(here, batch_size=_AT_ONCE).sort("_id", 1)
            name, chain = "", SealedLedger()
            bases: _Bases | None = None
            async for document in cursor:
                identity, *_ = document["_id"].split("/")
                if identity != name:
                    sums.end(chain, bases)
                    name, chain, bases = identity, SealedLedger(), None
                    if (ledger := left.pop(identity, None)) is not None:
                        bases = _Bases(ledger, since, kept_since(ledger["bucket"]))
                is_of_now = document["partitions"] == partitions
                if bases is not None and not _is_sealed_in(document, bases.ledger):
                    if is_of_now:
                        continue
                    # The ledger was made anew since.
                elif bases is not None:
                    bases.add(document)
                elif is_of_now:
                    sums.wrong.append(Wrong(f"{document['_id']} ledger", 1, 0))
                sums.add(document)
                sums.wrong += chain.add(document)
            sums.end(chain, bases)
    except PyMongoError as error:
        raise StoreUnavailable(f"MongoDB {mongo_reason(error)}") from error
    for ledger in left.values():
        sums.end(SealedLedger(), _Bases(ledger, since, kept_since(ledger["bucket"])))
    return sums


def _is_sealed_in(document: Document, ledger: Mapping[str, Any]) -> bool:
    """Whether the period had been sealed when the ledger was read."""
    sealed_to = ledger.get("sealed_to")
    return sealed_to is not None and bool(document["period_end"] <= sealed_to)


def _unequal(where: str, expected: _Flat, found: _Flat) -> Iterator[Wrong]:
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name, 0) != found.get(name, 0):
            yield Wrong(f"{where} {name}", expected.get(name, 0), found.get(name, 0))


def _decreased(where: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Wrong]:
    """Counts that are lower than before: they only grow. A position may be another one after a restore."""
    for name, count in before.items():
        if name == "next_offset":
            continue
        if isinstance(count, dict):
            yield from _decreased(f"{where} {name}", count, after.get(name, {}))
        elif count > (found := after.get(name, 0)):
            yield Wrong(f"{where} {name}", count, found)


def _seconds(at: datetime | None) -> int:
    return 0 if at is None else int(at.timestamp())
