"""Steps for what is known of a person: registry, locations, contacts, choices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aiokafka.errors import KafkaError

from notify_streams.errors import RetryLater
from notify_streams.preferences.erased_users import ERASED_NUMBER
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.topics import CONTACT_ROWS, PREFERENCE_ROWS, USER_LOCATIONS, edge_topic
from notify_streams.transport.send_errors import SendError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from notify_streams.erasure.runner import Note
    from notify_streams.erasure.store import OpenErasure
    from notify_streams.preferences.choices import PreferenceRecord
    from notify_streams.preferences.erased_users import ErasedUsers
    from notify_streams.preferences.stops import Stops
    from notify_streams.records.batch import Producer
    from notify_streams.records.user_records import Contacts
    from notify_streams.registry.user import User
    from notify_streams.roles import Channel
    from notify_streams.settings import Settings


class Registry(Protocol):
    """The part of `registry.users_table.UsersTable` that an erasure needs."""

    async def get(self, user_id: str, /) -> User | None: ...
    async def delete(self, user_id: str, version: int, /) -> bool: ...


class ContactStore(Protocol):
    """The part of `registry.contact_repository.ContactRepository` that an erasure needs."""

    async def read(self, buckets: Mapping[str, int], /) -> Mapping[str, Contacts]: ...
    async def delete(self, bucket: int, user_id: str, /) -> None: ...


class RegisteredData:
    """The steps; see `runner.Step`.

    Args:
        is_located: whether this region's locations have a user.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        contacts: ContactStore,
        erased: ErasedUsers,
        stops: Stops,
        producer: Producer,
        is_located: Callable[[str], bool],
    ) -> None:
        self._points = [edge_topic(pop.name) for pop in settings.edge]
        self._registry = registry
        self._contacts = contacts
        self._erased = erased
        self._stops = stops
        self._producer = producer
        self._is_located = is_located

    async def checks(self, one: OpenErasure, note: Note) -> None:
        """Every check before a call refuses from now on."""
        await self._erased.refuse_all(one.user_id, one.bucket, one.requested_at)

    async def registry(self, one: OpenErasure, note: Note) -> None:
        """The row in this region's replica. DynamoDB copies the deletion."""
        row = await self._registry.get(one.user_id)
        await note(int(row is not None))
        if row is not None and not await self._registry.delete(one.user_id, row.version):
            raise RetryLater("the registry's row has changed")

    async def locations(self, one: OpenErasure, note: Note) -> None:
        """Records without a value, for the tables and the points of presence."""
        await note(int(self._is_located(one.user_id)))
        await self._tombstone(one, USER_LOCATIONS, *self._points)

    async def contacts(self, one: OpenErasure, note: Note) -> None:
        """Addresses on which something was stopped become suppressed ones, which are kept under a keyed hash."""
        contacts = (await self._contacts.read({one.user_id: one.bucket})).get(one.user_id)
        await note(int(contacts is not None))
        if contacts is not None:
            record = await self._erased.record_of(one.user_id, one.bucket)
            for channel, address in _addresses(contacts).items():
                if _has_stopped(record, channel):
                    await self._stops.suppress_address(channel, address, "stopped", one.person, ChoiceSource.ERASURE)
            await self._contacts.delete(one.bucket, one.user_id)
        await self._tombstone(one, CONTACT_ROWS)

    async def preferences(self, one: OpenErasure, note: Note) -> None:
        """The last step of the second pass: until then the record refuses messages."""
        record = await self._erased.record_of(one.user_id, one.bucket)
        await note(sum(len(channels) for number, channels in record.choices.items() if number != ERASED_NUMBER))
        await self._tombstone(one, PREFERENCE_ROWS)
        await self._erased.forget(one.user_id, one.bucket)

    async def _tombstone(self, one: OpenErasure, *topics: str) -> None:
        for topic in topics:
            try:
                await self._producer.send_batch(topic, one.bucket, [(one.user_id.encode(), None, ())])
            except (SendError, KafkaError, TimeoutError, OSError) as error:
                raise RetryLater(f"{topic}: {type(error).__name__}") from error


def _addresses(contacts: Contacts) -> dict[Channel, str]:
    """Phone number and mail address: what a later record about another person may name again."""
    found: dict[Channel, str | None] = {"sms": contacts.sms, "email": contacts.email}
    return {channel: address for channel, address in found.items() if address}


def _has_stopped(record: PreferenceRecord, channel: Channel) -> bool:
    """Whether the person had turned anything off on this channel."""
    return any(
        channel in channels and not channels[channel].opted_in
        for number, channels in record.choices.items()
        if number != ERASED_NUMBER
    )
