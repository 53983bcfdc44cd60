"""The registry role's work on a batch of sign-ups: registry rows written, and the records that must go out for them.

In: decoded sign-ups of one partition, in order. Out: outputs for the outbox (locations for every region, sign-ups and contacts
passed on, one record for each point of presence) and counts. Doing a batch twice gives the same rows and the same outputs: a
crash between the registry and the outbox loses nothing and repeats only what readers order by version.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import msgspec

from notify_streams import topics
from notify_streams.records.user_records import LocationRecord, encode_location_record
from notify_streams.regions.forwarding.headers import forwarded_headers, read_forwarding_headers
from notify_streams.registry.signup_decision import ForwardSignup, HandOver, RegisterHere, SignupIgnored, decide_signup
from notify_streams.registry.users_table import WriteOutcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from notify_streams.records.batch import Headers, OutboxRecord
    from notify_streams.records.user_records import Signup
    from notify_streams.registry.signup_decision import KnownHome
    from notify_streams.registry.user import User
    from notify_streams.registry.users_table import WriteResult
    from notify_streams.settings import Settings


class Registry(Protocol):
    """The part of `UsersTable` that sign-ups need."""

    async def get_many(self, user_ids: Sequence[str], /) -> dict[str, User]: ...
    async def put_many(self, users: Sequence[User], /) -> list[WriteResult]: ...


@dataclass(frozen=True, slots=True)
class ReceivedSignup:
    """One sign-up as it came: decoded, with the record's own bytes and headers for passing it on."""

    signup: Signup
    value: bytes
    headers: Headers = ()


@dataclass(slots=True)
class SignupResults:
    """What a batch became. `dropped` names, for each sign-up that changed nothing, its place in the batch and why."""

    outputs: list[OutboxRecord] = field(default_factory=list)
    dropped: list[tuple[int, SignupIgnored]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class SignupProcessor:
    """Works sign-ups of one region.

    `contacts_of` reads this region's contacts as they lie on `user_contacts`. `located` looks into this region's locations: a
    replica of the registry that is behind must not make a move look like a new person.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        server_of: Callable[[str], str | None],
        contacts_of: Callable[[Sequence[str]], Awaitable[Mapping[str, bytes]]],
        located: Callable[[str], KnownHome | None] = lambda user_id: None,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._server_of = server_of
        self._contacts_of = contacts_of
        self._located = located

    async def register(self, partition: int, batch: Sequence[ReceivedSignup]) -> SignupResults:
        """Do the batch. A person's sign-ups are done one after the other in the batch's order, different persons at once.

        Raises:
            RetryLater: the registry is throttled or silent; do the same batch again.
        """
        done = SignupResults()
        rounds = _rounds(batch)
        if not rounds:
            return done
        rows = await self._registry.get_many(list({asked.signup.user_id for asked in batch}))
        for places in rounds:
            await self._round(partition, batch, places, rows, done)
        return done

    async def _round(
        self,
        partition: int,
        batch: Sequence[ReceivedSignup],
        places: Sequence[int],
        rows: dict[str, User],
        done: SignupResults,
    ) -> None:
        settling: list[tuple[int, User]] = []
        leaving: list[tuple[ReceivedSignup, HandOver]] = []
        for at in places:
            asked = batch[at]
            user_id = asked.signup.user_id
            step = decide_signup(
                asked.signup,
                read_forwarding_headers(asked.headers),
                self._known(user_id, rows),
                self._settings.region,
                self._server_of,
            )
            if isinstance(step, SignupIgnored):
                done.dropped.append((at, step))
            elif isinstance(step, RegisterHere):
                settling.append((at, self._standing_by(step.user)))
            elif isinstance(step, HandOver):
                leaving.append((asked, step))
            else:
                done.outputs.append(self._passed_on(partition, asked, step))
                done.counts["passed_on"] += 1
        await self._settle(partition, settling, rows, done)
        await self._hand_over(partition, leaving, done)

    def _standing_by(self, user: User) -> User:
        """The row names the standby of the settings, the only one that gets contacts: so every region can tell whether it may hold them."""
        standby = self._settings.standby
        if user.region != self._settings.region or standby is None:
            return user
        return msgspec.structs.replace(user, standby=standby)

    def _known(self, user_id: str, rows: Mapping[str, User]) -> KnownHome | None:
        row, located = rows.get(user_id), self._located(user_id)
        return located if located is not None and (row is None or located.version > row.version) else row

    async def _settle(
        self, partition: int, settling: Sequence[tuple[int, User]], rows: dict[str, User], done: SignupResults
    ) -> None:
        writes = await self._registry.put_many([user for _, user in settling])
        for (at, user), write in zip(settling, writes, strict=True):
            rows[user.user_id] = write.held
            done.counts[write.wrote.value] += 1
            if write.wrote is WriteOutcome.STALE:
                done.dropped.append((at, SignupIgnored.STALE))
            else:
                done.outputs += location_outputs(write.held, partition, self._settings)

    async def _hand_over(
        self, partition: int, leaving: Sequence[tuple[ReceivedSignup, HandOver]], done: SignupResults
    ) -> None:
        if not leaving:
            return
        contacts = await self._contacts_of([asked.signup.user_id for asked, _ in leaving])
        for asked, step in leaving:
            key = asked.signup.user_id.encode()
            forward = topics.forward_topic(step.region)
            here = self._settings.region
            if (known := contacts.get(asked.signup.user_id)) is not None:
                done.outputs.append((forward, partition, key, known, forwarded_headers((), here, topics.USER_CONTACTS)))
            headers = forwarded_headers(asked.headers, here, topics.USER_SIGNUPS, handed_over_by=step.old_home)
            done.outputs.append((forward, partition, key, asked.value, headers))
            done.counts["handed_over"] += 1

    def _passed_on(self, partition: int, asked: ReceivedSignup, step: ForwardSignup) -> OutboxRecord:
        headers = forwarded_headers(asked.headers, self._settings.region, topics.USER_SIGNUPS)
        return topics.forward_topic(step.region), partition, asked.signup.user_id.encode(), asked.value, headers


def location_outputs(user: User, partition: int, settings: Settings, *, settled: bool = False) -> list[OutboxRecord]:
    """The records that tell everyone where `user` is at home: this region, every other, and each point of presence."""
    previous = None if settled else user.previous
    value = encode_location_record(LocationRecord(user.user_id, user.region, user.version, previous))
    key = user.user_id.encode()
    headers = forwarded_headers((), settings.region, topics.USER_LOCATIONS)
    outputs: list[OutboxRecord] = [(topics.USER_LOCATIONS, partition, key, value, ())]
    outputs += [
        (topics.forward_topic(region), partition, key, value, headers)
        for region in settings.regions
        if region != settings.region
    ]
    outputs += [(topics.edge_topic(pop.name), partition, key, value, ()) for pop in settings.edge]
    return outputs


def _rounds(batch: Sequence[ReceivedSignup]) -> list[list[int]]:
    """Places in the batch, so that no round holds a person twice and a person's sign-ups keep their order."""
    seen: Counter[str] = Counter()
    rounds: list[list[int]] = []
    for at, asked in enumerate(batch):
        number = seen[asked.signup.user_id]
        seen[asked.signup.user_id] += 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(at)
    return rounds
