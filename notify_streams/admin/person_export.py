"""What a region knows of a person, one item after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from notify_streams.admin.connections import connected
from notify_streams.admin.dead_letters import Selection, read_dead_letters
from notify_streams.admin.trigger_producer import owner_of
from notify_streams.delivery.attempt_reader import AttemptReader
from notify_streams.erasure.history import notification_pages, timers_of
from notify_streams.preferences.consents import read_consents
from notify_streams.preferences.erased_users import ERASED_NUMBER
from notify_streams.preferences.suppressed_addresses import SUPPRESSION_REASONS
from notify_streams.records.address_ids import address_id
from notify_streams.records.partitioner import bucket_of
from notify_streams.registry.contact_repository import ContactRepository
from notify_streams.registry.users_table import UsersTable
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from notify_streams.admin.connections import Connections
    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.choices import PreferenceRecord
    from notify_streams.records.user_records import Contacts
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Document

#: Kind, and one item of it. Items of a kind follow one another.
Item = tuple[str, dict[str, Any]]


async def export_person(settings: Settings, categories: Categories, user_id: str) -> AsyncIterator[Item]:
    """Everything: `registry`, `contacts`, `suppressed_addresses`, `choices`, `consents`, `notifications` with deliveries and attempts,
    `timers`, `dead_letters`.

    Raises:
        RetryLater: a service does not answer.
    """
    async with connected(settings, categories) as region:
        one = _Person(settings, categories, region, user_id)
        async for item in one.registry():
            yield item
        async for item in one.contacts():
            yield item
        async for item in one.choices():
            yield item
        async for item in one.consents():
            yield item
        async for item in one.notifications():
            yield item
        async for timer in timers_of(region.shards, one.bucket, user_id, one.timeout_s):
            kept = {name: timer[name] for name in ("role", "due_at", "attempt", "in_doubt", "replay")}
            yield "timers", kept | {"message": msgspec.json.decode(timer["record"])}
    async for letter in read_dead_letters(settings, Selection()):
        if user_id in (owner_of(letter.value).user_id, (letter.key or b"").decode("utf-8", "replace")):
            value = (letter.value or b"").decode("utf-8", "replace")
            yield "dead_letters", {"place": letter.place, "at": letter.at, **letter.why, "value": value}


async def export_consent(settings: Settings, categories: Categories, user_id: str) -> AsyncIterator[Item]:
    """`consents`: every choice with its source and time; `deliveries`: each with the version of the choices that it was decided by, and
    its state.

    Raises:
        RetryLater: a service does not answer.
    """
    async with connected(settings, categories) as region:
        one = _Person(settings, categories, region, user_id)
        async for item in one.consents():
            yield item
        async for _, notification in one.notifications(history=False):
            for channel, delivery in notification["deliveries"].items():
                kept = ("category", "decided_at", "preference_version")
                decided = {name: notification[name] for name in kept}
                state = {name: delivery.get(name) for name in ("state", "reason", "at")}
                yield "deliveries", {"notification_id": notification["_id"], "channel": channel, **decided, **state}


class _Person:
    def __init__(self, settings: Settings, categories: Categories, region: Connections, user_id: str) -> None:
        self._settings = settings
        self._region = region
        self._user_id = user_id
        self.bucket = bucket_of(user_id, settings.partitions)
        self.timeout_s = settings.outbox.transaction_timeout_s
        self._names = {category.number: name for name, category in categories.items()}
        self._names |= SUPPRESSION_REASONS | {ERASED_NUMBER: "erased"}

    async def registry(self) -> AsyncIterator[Item]:
        table = UsersTable(self._settings)
        await table.start()
        try:
            user = await table.get(self._user_id)
        finally:
            await table.close()
        if user is not None:
            yield "registry", msgspec.structs.asdict(user)

    async def contacts(self) -> AsyncIterator[Item]:
        repository = ContactRepository(self._region.shards, self.timeout_s)
        contacts = (await repository.read({self._user_id: self.bucket})).get(self._user_id)
        if contacts is None:
            return
        yield "contacts", msgspec.to_builtins(contacts)
        async for item in self._suppressed(contacts):
            yield item

    async def choices(self) -> AsyncIterator[Item]:
        record = await self._region.preferences.repository.read(self.bucket, self._user_id)
        for choice in self._choices(record):
            yield "choices", choice

    async def consents(self) -> AsyncIterator[Item]:
        with mongo_call("consents", self.timeout_s):
            found = await read_consents(self._region.shards, self.bucket, self._user_id)
        for one in found:
            kept = {name: one[name] for name in ("channel", "opted_in", "at", "source", "detail")}
            version = int(one["_id"].rpartition(":")[2])
            yield "consents", {"version": version, "category": self._name(one["category"]), **kept}

    async def notifications(self, *, history: bool = True) -> AsyncIterator[Item]:
        reader = AttemptReader(self._region.shards, self.timeout_s)
        async for page in notification_pages(self._region.shards, self.bucket, (self._user_id,), self.timeout_s):
            await reader.add_status(page)
            for one in page:
                if history:
                    await self._add_history(reader, one)
                yield "notifications", one

    async def _add_history(self, reader: AttemptReader, notification: Document) -> None:
        for channel, delivery in notification["deliveries"].items():
            delivery["history"] = await reader.history(
                self.bucket, notification["_id"], channel, notification["decided_at"]
            )

    async def _suppressed(self, contacts: Contacts) -> AsyncIterator[Item]:
        key, read = self._settings.public.address_key, self._region.preferences.repository.read
        for channel, address in (("sms", contacts.sms), ("email", contacts.email)):
            if key is not None and address is not None:
                identity = address_id(key.reveal().encode(), channel, address)
                for choice in self._choices(await read(bucket_of(identity, self._settings.partitions), identity)):
                    yield "suppressed_addresses", {"id": identity, **choice}

    def _choices(self, record: PreferenceRecord) -> list[dict[str, Any]]:
        return [
            {
                "category": self._name(number),
                "channel": channel,
                "opted_in": one.opted_in,
                "at": one.at,
                "version": one.version,
            }
            for number, channels in record.choices.items()
            for channel, one in channels.items()
        ]

    def _name(self, number: int) -> str:
        return str(self._names.get(number, number))
