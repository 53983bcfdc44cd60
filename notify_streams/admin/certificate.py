"""The certificate of an erasure: what was found, what remains, how long."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from notify_streams.erasure.store import ErasureStore
from notify_streams.errors import Refused
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.person_hash import person_hash
from notify_streams.stores.mongo import Shards
from notify_streams.topics import COMPACTED_MS, all_topics, deleted_after

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Document

_CONNECT_MS: Final = 2_000
_HASHED: Final = "notifications, attempts and choices with a keyed hash in place of the person, and suppressed addresses as keyed hashes"


def erasure_key(settings: Settings) -> bytes:
    """The key of the hash.

    Raises:
        Refused: it is not set.
    """
    key = settings.public.address_key
    if key is None:
        raise Refused(
            "no person can be erased without public.address_key, the key of the hash that is kept: set it, the same in all regions"
        )
    return key.reveal().encode()


async def read_erasure_document(settings: Settings, user_id: str) -> Document | None:
    """What one region has of the erasure of a person; None if it was not asked for it yet.

    Raises:
        StoreUnavailable: a shard does not answer.
    """
    async with Shards(settings, serverSelectionTimeoutMS=_CONNECT_MS) as shards:
        await shards.refresh_directory()
        store = ErasureStore(shards, erasure_key(settings), settings.outbox.transaction_timeout_s)
        return await store.read(user_id, bucket_of(user_id, settings.partitions))


def certificate(
    settings: Settings, user_id: str, documents: Mapping[str, Document | None], away: Mapping[str, str]
) -> dict[str, Any]:
    """The certificate over all regions. It names the person only by the keyed hash. `holds`: each region has finished.

    Args:
        documents: by region; None: the request has not arrived there.
        away: why regions gave no answer.
    """
    regions: dict[str, Any] = {region: {"unreachable": why} for region, why in away.items()}
    regions |= {region: _region(document) for region, document in documents.items()}
    ends = [document["finished_at"] for document in documents.values() if document and "finished_at" in document]
    holds = len(ends) == len(regions)
    return {
        "holds": holds,
        "person": person_hash(erasure_key(settings), user_id),
        "regions": dict(sorted(regions.items())),
        "remains": list(_remains(settings, max(ends))) if holds else [],
    }


def _region(document: Document | None) -> dict[str, Any]:
    if document is None:
        return {"state": "not_requested"}
    found: dict[str, int] = {}
    for step, count in document["found"].items():
        name = step.rpartition("_")[0]
        found[name] = found.get(name, 0) + count
    state = "finished" if "finished_at" in document else "first_pass" if "first_pass_at" in document else "begun"
    times = ("requested_at", "first_pass_at", "finished_at")
    return {"state": state, "found": found} | {name: document[name] for name in times if name in document}


def _remains(settings: Settings, finished_at: datetime) -> Iterator[dict[str, Any]]:
    """What still names the person, or stands for them."""
    compacted, retained = [], []
    for topic in all_topics(settings):
        if topic.config.get("cleanup.policy") == "compact":
            compacted.append(topic.name)
        elif topic.config.get("retention.ms") != "-1":
            retained.append(topic.name)
    yield {
        "where": "Kafka",
        "what": "records that were written before; Kafka deletes none alone",
        "topics": retained,
        "until": finished_at + deleted_after(settings),
    }
    yield {
        "where": "Kafka",
        "what": "keys of records without a value, and earlier records of these keys",
        "topics": compacted,
        "until": finished_at + timedelta(milliseconds=COMPACTED_MS),
    }
    yield {
        "where": "MongoDB",
        "what": _HASHED,
        "collections": ["notifications", "attempts"],
        "until": finished_at + settings.retention.attempts,
    }
    yield {
        "where": "MongoDB",
        "what": "keyed hashes",
        "collections": ["consents", "erasures", "preferences"],
        "until": None,
    }
    yield {
        "where": "logs",
        "what": "the first 16 digits of the SHA-256 of the user id, in lines of requests",
        "until": None,
    }
