"""What the router sends on to another region, and what it keeps: how far a trigger has come, who takes whose place, who has moved."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from notify_streams.outbox.flush_plan import plan_flush
from notify_streams.records.ids import notification_id
from notify_streams.regions.failover.protocol import HomeRegion
from notify_streams.routing.router import Router
from notify_streams.topics import FORWARDED
from tests.builders import (
    AckRecorder,
    ARecord,
    FakePlacements,
    a_batch,
    a_placement,
    document_of,
    is_dead,
    outcomes,
    users_of,
)
from tests.unit.routing.routing_fixtures import (
    CATEGORIES,
    ELSEWHERE,
    HERE,
    SETTINGS,
    TEMPLATES,
    for_user,
    known_people,
    route,
)


async def test_a_forwarded_trigger_says_how_far_it_has_come() -> None:
    (entry,) = (await route(a_batch(ARecord(for_user(HERE[3]), headers=(("x", b"1"),))))).entries
    ((topic, *_, headers),) = entry.outputs
    assert topic == "forward.eu"
    assert dict(headers) == {
        "x": b"1",
        "origin": b"us",
        "hops": b"1",
        "target": FORWARDED.encode(),
        "location_version": b"1",
        "system": b"payments",
        "source": b"triggers.payments:3:0",
        "origin_ms": b"0",
    }


async def test_a_client_cannot_choose_what_a_trigger_becomes_in_another_region() -> None:
    """`target` alone would let any client write another region's locations."""
    ours = (
        ("target", b"user_locations"),
        ("hops", b"1"),
        ("origin", b"eu"),
        ("cleared_by", b"us"),
        ("epoch", b"7"),
        ("system", b"security"),
    )
    (entry,) = (await route(a_batch(ARecord(for_user(HERE[3]), headers=(*ours, ("theirs", b"1")))))).entries
    headers = entry.outputs[0][4]
    assert [content for name, content in headers if name == "target"] == [FORWARDED.encode()]
    assert {name for name, _ in headers} == {
        "theirs",
        "origin_ms",
        "hops",
        "origin",
        "target",
        "location_version",
        "system",
        "source",
    }
    assert dict(headers)["hops"] == b"1"
    assert dict(headers)["origin"] == b"us"


async def test_a_forwarded_trigger_wanders_no_further_than_two_hops() -> None:
    wanderer = ARecord(for_user(HERE[3]), headers=(("hops", b"2"), ("origin", b"asia")))
    (entry,) = (await route(a_batch(wanderer, topic=FORWARDED))).entries
    assert is_dead(entry, "too_many_hops")


async def test_people_of_a_region_whose_place_this_one_takes_are_served_here() -> None:
    taken = await route(a_batch(for_user(HERE[3])), placed=FakePlacements(a_placement(eu=HomeRegion("us", 1, "us"))))
    assert outcomes(taken) == ["notified"]
    assert taken.epoch == a_placement(eu=HomeRegion("us", 1, "us")).epoch


async def test_what_another_region_handed_over_early_waits_until_this_one_serves() -> None:
    """The sender knows of a failover that has not come here yet: to decide now would send the trigger back."""
    early = ARecord(for_user(HERE[3]), headers=(("hops", b"1"), ("epoch", b"1")))
    placed = FakePlacements(later=[a_placement(eu=HomeRegion("us", 1, "us"))])
    assert outcomes(await route(a_batch(early, topic=FORWARDED), placed=placed)) == ["notified"]
    assert not placed.later


async def test_a_trigger_that_must_wait_holds_up_its_own_partition_and_no_other() -> None:
    """Its person's region is being switched: users of other partitions are notified meanwhile."""

    class Switching(FakePlacements):
        async def changed(self, epoch: Any) -> Any:
            await switched.wait()
            return await super().changed(epoch)

    switched = asyncio.Event()
    people = known_people()
    elsewhere = users_of(4, 1, "other")[0]
    people.add(elsewhere)
    router = Router(
        SETTINGS,
        CATEGORIES,
        TEMPLATES,
        "standard",
        people,
        Switching(later=[a_placement(eu=HomeRegion("us", 1, "us"))]),
    )
    early = ARecord(for_user(HERE[3]), headers=(("hops", b"1"), ("epoch", b"1")))
    held = asyncio.ensure_future(router.decide_batch(a_batch(early, topic=FORWARDED), AckRecorder()))
    other = a_batch(for_user(elsewhere), topic=FORWARDED, partition=4)
    async with asyncio.timeout(5):
        assert outcomes(await router.decide_batch(other, AckRecorder())) == ["notified"]
        assert not held.done()
        switched.set()
        assert outcomes(await held) == ["notified"]


async def test_the_old_home_of_someone_who_moved_looks_before_it_lets_a_trigger_go() -> None:
    people = known_people()
    people.add(HERE[3], region="eu", previous="us")
    taken = await route(a_batch(for_user(HERE[0]), for_user(HERE[3], id="t-7")), people=people)
    assert taken.duplicate_candidates == {1: notification_id("t-7", HERE[3], "payments")}
    assert dict(taken.entries[1].outputs[0][4])["cleared_by"] == b"us"


class NoNews(FakePlacements):
    """No later placement ever comes."""

    async def changed(self, epoch: int) -> Any:
        await asyncio.Event().wait()


numbers = st.integers().map(lambda number: b"%d" % number) | st.binary(max_size=30)


@given(st.dictionaries(st.sampled_from(["hops", "epoch", "location_version"]), numbers))
@settings(deadline=None)
def test_no_number_in_a_header_stops_a_partition(headers: dict[str, bytes]) -> None:
    async def decide() -> None:
        people = known_people()
        placed = NoNews(a_placement(eu=HomeRegion("us", 1, "us")))
        router = Router(SETTINGS, CATEGORIES, TEMPLATES, "standard", people, placed, max_behind_s=0.001)
        forged = ARecord(for_user(HERE[3]), headers=tuple(headers.items()))
        async with asyncio.timeout(5):
            decided = await router.decide_batch(a_batch(forged, for_user(HERE[0]), topic=FORWARDED), AckRecorder())
        assert outcomes(decided)[1] == "notified"
        plan_flush("f", "standard", [decided], datetime.now(UTC))

    asyncio.run(decide())


async def test_an_epoch_that_no_control_log_confirms_holds_a_worker_once() -> None:
    class Counted(NoNews):
        waits = 0

        async def changed(self, epoch: int) -> Any:
            self.waits += 1
            await super().changed(epoch)

    placed = Counted()
    router = Router(SETTINGS, CATEGORIES, TEMPLATES, "standard", known_people(), placed, max_behind_s=0.01)
    forged = ARecord(for_user(HERE[0]), headers=(("hops", b"1"), ("epoch", b"100000000000000")))
    for _ in range(3):
        assert outcomes(await router.decide_batch(a_batch(forged, topic=FORWARDED), AckRecorder())) == ["notified"]
    assert placed.waits == 1


async def test_the_system_of_a_trigger_belongs_to_its_identity_on_every_way() -> None:
    forged = (("system", b"security"),)
    paid = ARecord(for_user(HERE[0]), headers=forged)
    offer = ARecord(for_user(HERE[0], category="marketing", template="offer", data={"offer": "x"}), headers=forged)
    batches = a_batch(paid), a_batch(offer, topic="triggers.marketing")
    own = [(await route(batch)).entries[0] for batch in batches]
    assert [entry.notification for entry in own] == [
        notification_id("t-1", HERE[0], "payments"),
        notification_id("t-1", HERE[0], "marketing"),
    ]
    (sent,) = (await route(a_batch(ARecord(for_user(HERE[3]), headers=(("ce_source", b"/crm"),))))).entries
    ((_, _, _, value, headers),) = sent.outputs
    taking = FakePlacements(a_placement(eu=HomeRegion("us", 1, "us")))
    arrived = ARecord(value, headers=tuple(headers))
    (entry,) = (await route(a_batch(arrived, topic=FORWARDED), placed=taking)).entries
    assert entry.notification == notification_id("t-1", HERE[3], "payments", "/crm")
    assert (document_of(entry)["system"], document_of(entry)["source"]) == ("payments", "/crm")


async def test_a_forwarded_trigger_that_moves_on_keeps_its_system() -> None:
    moved_on = ARecord(for_user(ELSEWHERE[0]), headers=(("hops", b"1"), ("system", b"security")))
    (entry,) = (await route(a_batch(moved_on, topic=FORWARDED))).entries
    assert dict(entry.outputs[0][4])["system"] == b"security"
    again = ARecord(for_user(HERE[3]), headers=(("hops", b"1"), ("system", b"security")))
    (entry,) = (await route(a_batch(again, topic=FORWARDED))).entries
    assert dict(entry.outputs[0][4])["system"] == b"security"
