"""Processes sign-ups: registry rows, and the records to publish for them.

The records: locations for every region and every point of presence, forwarded sign-ups, handed-over contacts. Repeating a batch gives
the same rows and records, so a crash between the registry and the outbox loses nothing; readers order duplicates by version.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import msgspec

from notify_streams.records.user_records import LocationRecord, encode_record
from notify_streams.regions.forwarding.headers import (
    HANDED_OVER,
    forwarded_headers,
    read_forwarding_headers,
    refuse_header,
)
from notify_streams.registry.signup_decision import HandOver, RegisterHere, SignupIgnored, decide_signup
from notify_streams.registry.user import is_same
from notify_streams.registry.users_table import WriteOutcome, WriteResult
from notify_streams.topics import USER_CONTACTS, USER_LOCATIONS, USER_SIGNUPS, edge_topic, forward_topic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from notify_streams.records.batch import Headers, OutboxRecord
    from notify_streams.records.user_records import Signup
    from notify_streams.registry.record_sorting import ErasedAmong
    from notify_streams.registry.signup_decision import KnownHome, SignupDecision
    from notify_streams.registry.user import User
    from notify_streams.settings import Settings


async def none_erased(buckets: Mapping[str, int]) -> set[str]:
    """No user was erased."""
    return set()


class Registry(Protocol):
    """The part of `UsersTable` that sign-ups need."""

    async def get_many(self, user_ids: Sequence[str], /) -> dict[str, User]: ...
    async def put_many(self, users: Sequence[User], /) -> list[WriteResult]: ...


@dataclass(frozen=True, slots=True)
class ReceivedSignup:
    """A sign-up, with the record's headers for forwarding it."""

    signup: Signup
    headers: Headers = ()


@dataclass(slots=True)
class SignupResults:
    """The results of one batch."""

    outputs: list[OutboxRecord] = field(default_factory=list)
    #: For each sign-up that changed nothing its index in the batch and the reason.
    ignored: list[tuple[int, SignupIgnored]] = field(default_factory=list)


class SignupProcessor:
    """Processes the sign-ups of one region.

    Args:
        server_of: the region that serves a home region's users now.
        contacts_of: this region's contacts as they lie on `user_contacts`.
        locate: this region's locations. A replica of the registry that is behind must not make a move look like a new user.
        erased_among: which users (user id → bucket) were erased.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        server_of: Callable[[str], str | None],
        contacts_of: Callable[[Sequence[str]], Awaitable[Mapping[str, bytes]]],
        locate: Callable[[str], KnownHome | None] = lambda user_id: None,
        erased_among: ErasedAmong = none_erased,
    ) -> None:
        self._settings = settings
        self.partitions = settings.partitions
        self._registry = registry
        self._server_of = server_of
        self._contacts_of = contacts_of
        self._locate = locate
        self._erased_among = erased_among

    async def register(self, partition: int, batch: Sequence[ReceivedSignup]) -> SignupResults:
        """Process a batch: the sign-ups of one user in order, different users together.

        Raises:
            RetryLater: the registry is throttled or does not answer; repeat the batch.
        """
        results = SignupResults()
        if not batch:
            return results
        erased = await self._erased_among({received.signup.user_id: partition for received in batch})
        results.ignored += [
            (index, SignupIgnored.ERASED) for index, one in enumerate(batch) if one.signup.user_id in erased
        ]
        rows = await self._registry.get_many(list({received.signup.user_id for received in batch} - erased))
        for indexes in _one_per_user(batch):
            known = {index: batch[index] for index in indexes if batch[index].signup.user_id not in erased}
            await self._process(partition, known, rows, results)
        return results

    async def _process(
        self, partition: int, signups: Mapping[int, ReceivedSignup], rows: dict[str, User], results: SignupResults
    ) -> None:
        """Process sign-ups of different users. `rows` is read and updated."""
        registered: list[tuple[int, User]] = []
        handed_over: list[tuple[ReceivedSignup, HandOver]] = []
        for index, received in signups.items():
            decision = self._decide(received, rows)
            if isinstance(decision, SignupIgnored):
                results.ignored.append((index, decision))
            elif isinstance(decision, RegisterHere):
                registered.append((index, self._with_standby(decision.user)))
            elif isinstance(decision, HandOver):
                handed_over.append((received, decision))
            else:
                results.outputs.append(self._forwarded(partition, received, decision.region))
        await self._write(partition, registered, rows, results)
        await self._hand_over(partition, handed_over, results)

    def _decide(self, received: ReceivedSignup, rows: Mapping[str, User]) -> SignupDecision:
        signup = received.signup
        row, location = rows.get(signup.user_id), self._locate(signup.user_id)
        known = location if location is not None and (row is None or location.version > row.version) else row
        headers = read_forwarding_headers(received.headers)
        if headers.handed_over_by not in (None, *self._settings.regions):
            refuse_header(HANDED_OVER)  # would be the location's previous home, and no table could hold that
            headers = msgspec.structs.replace(headers, handed_over_by=None)
        return decide_signup(signup, headers, known, self._settings.region, self._server_of)

    def _with_standby(self, user: User) -> User:
        """The row names the standby of the settings, which alone gets contacts: so every region can tell whether it may hold them."""
        standby = self._settings.standby
        if user.region != self._settings.region or standby is None:
            return user
        return msgspec.structs.replace(user, standby=standby)

    async def _write(
        self, partition: int, registered: Sequence[tuple[int, User]], rows: dict[str, User], results: SignupResults
    ) -> None:
        """Write the rows that the registry does not hold yet.

        A refused write costs as much as another one, so a throttled batch that writes all rows at each attempt might never come to its end.
        """
        held = {user.user_id: row for _, user in registered if (row := rows.get(user.user_id)) and is_same(row, user)}
        missing = [user for _, user in registered if user.user_id not in held]
        writes = {user_id: WriteResult(WriteOutcome.SAME, row) for user_id, row in held.items()}
        writes |= zip((user.user_id for user in missing), await self._registry.put_many(missing), strict=True)
        for index, user in registered:
            write = writes[user.user_id]
            if write.outcome is WriteOutcome.REFUSED:
                results.ignored.append((index, SignupIgnored.REFUSED))
                continue
            rows[user.user_id] = write.row
            if write.outcome is WriteOutcome.STALE:
                results.ignored.append((index, SignupIgnored.STALE))
            else:
                results.outputs += location_outputs(write.row, partition, self._settings)

    async def _hand_over(
        self, partition: int, handed_over: Sequence[tuple[ReceivedSignup, HandOver]], results: SignupResults
    ) -> None:
        if not handed_over:
            return
        contacts = await self._contacts_of([received.signup.user_id for received, _ in handed_over])
        for received, decision in handed_over:
            user_id = received.signup.user_id
            if (row := contacts.get(user_id)) is not None:
                headers = forwarded_headers((), self._settings.region, USER_CONTACTS)
                results.outputs.append((forward_topic(decision.region), partition, user_id.encode(), row, headers))
            results.outputs.append(self._forwarded(partition, received, decision.region, decision.old_home))
            results.outputs += self._purges(partition, received.signup)

    def _purges(self, partition: int, signup: Signup) -> list[OutboxRecord]:
        """Replace what this region wrote for the points of presence. Without it a push that was late would bring the old home back."""
        left = LocationRecord(signup.user_id, signup.region, signup.version, previous=self._settings.region)
        return [
            (edge_topic(pop.name), partition, signup.user_id.encode(), encode_record(left), ())
            for pop in self._settings.edge
        ]

    def _forwarded(
        self, partition: int, received: ReceivedSignup, region: str, handed_over_by: str | None = None
    ) -> OutboxRecord:
        headers = forwarded_headers(
            received.headers, self._settings.region, USER_SIGNUPS, handed_over_by=handed_over_by
        )
        return (
            forward_topic(region),
            partition,
            received.signup.user_id.encode(),
            encode_record(received.signup),
            headers,
        )


def location_outputs(user: User, partition: int, settings: Settings, *, settled: bool = False) -> list[OutboxRecord]:
    """The location of `user` as records: for this region, for every other region, for each point of presence."""
    previous = None if settled else user.previous
    value = encode_record(LocationRecord(user.user_id, user.region, user.version, previous))
    key = user.user_id.encode()
    headers = forwarded_headers((), settings.region, USER_LOCATIONS)
    outputs: list[OutboxRecord] = [(USER_LOCATIONS, partition, key, value, ())]
    outputs += [
        (forward_topic(region), partition, key, value, headers)
        for region in settings.regions
        if region != settings.region
    ]
    outputs += [(edge_topic(pop.name), partition, key, value, ()) for pop in settings.edge]
    return outputs


def _one_per_user(batch: Sequence[ReceivedSignup]) -> list[list[int]]:
    """Groups of indexes of the batch: no group has a user twice, and each user's sign-ups keep their order."""
    seen: Counter[str] = Counter()
    groups: list[list[int]] = []
    for index, received in enumerate(batch):
        number = seen[received.signup.user_id]
        seen[received.signup.user_id] += 1
        if number == len(groups):
            groups.append([])
        groups[number].append(index)
    return groups
