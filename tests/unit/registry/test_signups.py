"""Sign-ups and moves: what one region writes and sends for each, however often it is done and wherever it enters."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notify_streams.errors import RetryLater
from notify_streams.records.user_records import LocationRecord, Signup, decode_location_record, read_signup
from notify_streams.regions.forwarding.headers import (
    NOT_FORWARDED,
    ForwardingHeaders,
    arrival_headers,
    read_forwarding_headers,
)
from notify_streams.registry.signup_decision import ForwardSignup, HandOver, RegisterHere, SignupIgnored, decide_signup
from notify_streams.registry.signups import ReceivedSignup, SignupProcessor, SignupResults
from notify_streams.registry.user import User, from_item, supersedes, to_item
from notify_streams.registry.users_table import WriteOutcome, WriteResult
from notify_streams.settings import EdgePopSettings, Settings

REGIONS = ("us", "eu", "asia")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER_MS = int(NOON.timestamp() * 1000) + 60_000


def a_signup(user_id: str = "u-1", region: str = "us", version: int = 1, **but: Any) -> Signup:
    return Signup(user_id, region, NOON + timedelta(seconds=version), version, **but)


def asked(signup: Signup, *headers: tuple[str, bytes]) -> ReceivedSignup:
    return ReceivedSignup(signup, headers)


class FakeRegistry:
    """One region's replica, as `UsersTable` keeps it."""

    def __init__(self) -> None:
        self.rows: dict[str, User] = {}
        #: The id of a user whose row DynamoDB cannot hold.
        self.refused: str | None = None

    async def get_many(self, user_ids: Sequence[str], /) -> dict[str, User]:
        return {user_id: self.rows[user_id] for user_id in user_ids if user_id in self.rows}

    async def put_many(self, users: Sequence[User], /) -> list[WriteResult]:
        assert len({user.user_id for user in users}) == len(users)
        return [self._put(user) for user in users]

    def _put(self, user: User) -> WriteResult:
        if user.user_id == self.refused:
            return WriteResult(WriteOutcome.REFUSED, user)
        held = self.rows.get(user.user_id)
        if held is None or held.version < user.version:
            self.rows[user.user_id] = user
            return WriteResult(WriteOutcome.WRITTEN, user)
        asked_for = (user.version, user.region, user.updated_at)
        same = (held.version, held.region, held.updated_at) == asked_for
        return WriteResult(WriteOutcome.SAME if same else WriteOutcome.STALE, held)


class Region:
    """A region's registry role, its replica and the contacts that lie there."""

    def __init__(self, name: str, **contacts: bytes) -> None:
        pops = (EdgePopSettings("paris", "http://edge"), EdgePopSettings("oslo", "http://edge"))
        settings = Settings(region=name, kafka="none", shards=("none",), redis="none", edge=pops)
        self.name = name
        self.registry = FakeRegistry()
        self.contacts = contacts
        self.signups = SignupProcessor(
            settings, self.registry, lambda region: region if region in REGIONS else None, self._contacts
        )

    async def _contacts(self, user_ids: Sequence[str]) -> Mapping[str, bytes]:
        return {user_id: self.contacts[user_id] for user_id in user_ids if user_id in self.contacts}

    async def does(self, *batch: ReceivedSignup) -> SignupResults:
        return await self.signups.register(3, batch)


def topics_of(done: SignupResults) -> list[str]:
    return [output[0] for output in done.outputs]


async def test_a_sign_up_at_home_is_written_and_told_to_everyone() -> None:
    us = Region("us")
    done = await us.does(asked(a_signup()))
    assert us.registry.rows["u-1"].region == "us"
    assert topics_of(done) == ["user_locations", "forward.eu", "forward.asia", "edge.paris", "edge.oslo"]
    assert {decode_location_record(value).region for _, _, _, value, _ in done.outputs} == {"us"}
    assert {partition for _, partition, *_ in done.outputs} == {3}
    assert arrival_headers(done.outputs[1][4])[0] == "user_locations"


async def test_a_sign_up_for_another_home_is_sent_there_and_nothing_is_written() -> None:
    us = Region("us")
    request = asked(a_signup(region="eu"), ("traceparent", b"00"))
    done = await us.does(request)
    assert us.registry.rows == {}
    [(topic, _, key, value, headers)] = done.outputs
    assert (topic, key, value) == ("forward.eu", b"u-1", msgspec.json.encode(request.signup))
    assert arrival_headers(headers)[0] == "user_signups"
    assert ("traceparent", b"00") in headers and read_forwarding_headers(headers).hops == 1


async def test_doing_a_batch_again_gives_the_same_outputs() -> None:
    us = Region("us")
    batch = [asked(a_signup(f"u-{number}")) for number in range(5)] + [asked(a_signup("far", "eu"))]
    first = await us.does(*batch)
    assert (await us.does(*batch)).outputs == first.outputs


async def test_a_batch_that_was_throttled_writes_only_what_the_registry_does_not_hold_yet() -> None:
    class Throttled(FakeRegistry):
        """Takes some rows, then refuses the call."""

        left = 30

        async def put_many(self, users: Sequence[User], /) -> list[WriteResult]:
            found = [self._put(user) for user in users[: self.left]]
            if len(users) > self.left:
                raise RetryLater("throttled")
            return found

    us = Region("us")
    us.registry = us.signups._registry = Throttled()
    batch = [asked(a_signup(f"u-{number}")) for number in range(100)]
    for _ in range(3):
        with pytest.raises(RetryLater):
            await us.does(*batch)
    done = await us.does(*batch)
    assert {output[2] for output in done.outputs} == {one.signup.user_id.encode() for one in batch}
    assert (len(us.registry.rows), done.ignored) == (100, [])


async def test_a_stale_version_changes_nothing_and_sends_nothing() -> None:
    us = Region("us")
    await us.does(asked(a_signup(version=3)))
    done = await us.does(
        asked(a_signup(version=2)), asked(a_signup(region="eu", version=3)), asked(a_signup(region="mars", version=9))
    )
    assert done.outputs == []
    wrong = [(0, SignupIgnored.STALE), (1, SignupIgnored.STALE), (2, SignupIgnored.UNKNOWN_REGION)]
    assert sorted(done.ignored) == wrong


async def test_a_row_that_the_registry_refuses_stops_no_other() -> None:
    us = Region("us")
    us.registry.refused = "u-2"
    done = await us.does(*(asked(a_signup(user_id)) for user_id in ("u-1", "u-2", "u-3")))
    assert done.ignored == [(1, SignupIgnored.REFUSED)]
    assert us.registry.rows.keys() == {"u-1", "u-3"}
    assert {output[2] for output in done.outputs} == {b"u-1", b"u-3"}


async def test_a_persons_sign_ups_in_one_batch_are_done_in_order() -> None:
    us = Region("us")
    done = await us.does(*(asked(a_signup(version=version)) for version in (1, 2, 3)))
    versions = [decode_location_record(output[3]).version for output in done.outputs if output[0] == "user_locations"]
    assert versions == [1, 2, 3]


async def test_a_move_goes_by_way_of_the_old_home_which_hands_over_the_contacts_first() -> None:
    us, eu = Region("us", **{"u-1": b"contacts"}), Region("eu")
    await us.does(asked(a_signup()))
    move = asked(a_signup(region="eu", version=2))
    left = await us.does(move)
    assert topics_of(left) == ["forward.eu", "forward.eu", "edge.paris", "edge.oslo"]
    assert decode_location_record(left.outputs[-1][3]) == LocationRecord("u-1", "eu", 2, previous="us")
    targets = [arrival_headers(output[4]) for output in left.outputs[:2]]
    assert [target for target, _ in targets] == ["user_contacts", "user_signups"]
    assert left.outputs[0][3] == b"contacts"
    assert us.registry.rows["u-1"].version == 1
    arrived = await eu.does(asked(a_signup(region="eu", version=2), *targets[1][1]))
    row = eu.registry.rows["u-1"]
    assert (row.region, row.version, row.previous) == ("eu", 2, "us")
    assert decode_location_record(arrived.outputs[0][3]).previous == "us"


async def test_a_previous_home_that_is_no_region_does_not_count() -> None:
    """Any client can set the header. No table could hold the location, and the user would stay unknown."""
    us = Region("us")
    done = await us.does(asked(a_signup(), ("handed_over_by", b"a\xe2\x80\xa8b")))
    assert us.registry.rows["u-1"].previous is None
    assert {decode_location_record(output[3]).previous for output in done.outputs} == {None}


async def test_a_replica_that_is_behind_does_not_make_a_move_look_like_a_new_person() -> None:
    settings = Settings(region="eu", kafka="none", shards=("none",), redis="none")

    async def none(_: Sequence[str]) -> Mapping[str, bytes]:
        return {}

    known = User("u-1", "us", 1, NOON)
    signups = SignupProcessor(settings, FakeRegistry(), lambda region: region, none, {"u-1": known}.get)
    done = await signups.register(0, [asked(a_signup(region="eu", version=2))])
    assert topics_of(done) == ["forward.us"]


@pytest.mark.parametrize(
    ("here", "row", "travel", "serving", "wanted"),
    [
        ("us", None, NOT_FORWARDED, {}, ForwardSignup("eu")),
        ("eu", None, NOT_FORWARDED, {}, RegisterHere),
        ("asia", "us", NOT_FORWARDED, {}, ForwardSignup("us")),
        ("us", "us", ForwardingHeaders(hops=1), {}, HandOver("eu", "us")),
        ("eu", "us", ForwardingHeaders(hops=2, handed_over_by="us"), {}, RegisterHere),
        ("us", None, NOT_FORWARDED, {"eu": "us"}, RegisterHere),
        ("us", "us", NOT_FORWARDED, {"eu": "us"}, RegisterHere),
        ("asia", "us", NOT_FORWARDED, {"us": "asia"}, HandOver("eu", "us")),
        ("us", None, ForwardingHeaders(hops=2), {}, SignupIgnored.TOO_MANY_HOPS),
    ],
    ids=["away", "home", "by way of", "old home", "new home", "stands in", "stands in, moved", "stands in for the old", "too far"],
)  # fmt: skip
def test_where_a_move_to_eu_is_done(
    here: str, row: str | None, travel: ForwardingHeaders, serving: dict[str, str], wanted: Any
) -> None:
    held = None if row is None else User("u-1", row, 1, NOON)
    step = decide_signup(
        a_signup(region="eu", version=2), travel, held, here, lambda region: serving.get(region, region)
    )
    assert isinstance(step, RegisterHere) if wanted is RegisterHere else step == wanted


@given(
    st.lists(st.tuples(st.sampled_from(REGIONS), st.integers(1, 4), st.sampled_from(REGIONS)), min_size=1, max_size=6)
)
@settings(max_examples=100, deadline=None)
def test_every_sign_up_ends_written_or_dropped_within_two_hops(entered: list[tuple[str, int, str]]) -> None:
    async def run() -> None:
        regions = {name: Region(name) for name in REGIONS}
        for home, version, at in entered:
            waiting = [(at, asked(a_signup(region=home, version=version)))]
            for _ in range(8):
                if not waiting:
                    break
                here, request = waiting.pop()
                done = await regions[here].does(request)
                for topic, _, _, value, headers in done.outputs:
                    target, arrived = arrival_headers(headers)
                    if target == "user_signups":
                        signup = read_signup(value, LATER_MS)
                        assert isinstance(signup, Signup)
                        waiting.append((topic.removeprefix("forward."), ReceivedSignup(signup, arrived)))
            assert not waiting
        rows = [row for region in regions.values() for row in region.registry.rows.values()]
        for name, region in regions.items():
            assert all(row.region == name for row in region.registry.rows.values())
        assert rows

    asyncio.run(run())


users = st.builds(
    User,
    st.just("u-1"),
    st.sampled_from(REGIONS),
    st.integers(1, 3),
    st.datetimes(timezones=st.just(UTC)),
    st.text(max_size=5),
    st.text(max_size=5),
    st.none() | st.sampled_from(REGIONS),
    st.none() | st.sampled_from(REGIONS),
)


@given(users)
def test_a_row_survives_dynamodb(user: User) -> None:
    found = from_item(to_item(user))
    assert found == msgspec.structs.replace(user, locale=user.locale or "en", time_zone=user.time_zone or "UTC")


def test_a_time_that_an_earlier_release_stored_for_a_year_before_1000_can_be_read() -> None:
    item = to_item(User("u-1", "us", 1, NOON)) | {"updated_at": {"S": "2-11-30T00:00:00.000000Z"}}
    assert from_item(item).updated_at == datetime(1970, 1, 1, tzinfo=UTC)


@given(st.lists(users, min_size=1, max_size=5))
def test_the_last_writer_is_the_same_in_every_order(rows: list[User]) -> None:
    winners = set()
    for order in itertools.permutations(rows):
        held = order[0]
        for row in order[1:]:
            held = row if supersedes(row, held) else held
        winners.add((held.version, held.updated_at, held.region))
    assert len(winners) == 1
