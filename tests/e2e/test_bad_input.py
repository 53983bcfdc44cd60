"""Bad records: no partition stops, no record is lost, each dead letter says what was wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import pytest
import pytest_asyncio
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy as BatchBuilder

from devtools.chaos.fuzz.records import RawRecord, RawWriter
from notify_streams.transport.bounded_inflation import UNREAD
from tests.builders import trigger_json
from tests.e2e.running_region import USERS, DeadLetter, RecordPosition, RunningRegion, a_new_id, wait_until_known

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="session")]

TOPIC = "triggers.payments"


@dataclass(frozen=True)
class Bad:
    """A record that becomes a dead letter."""

    name: str
    #: From a new trigger id to the record's value.
    value: Callable[[str], bytes | None]
    reason: str
    #: Part of the dead letter's detail.
    detail: str
    key: bytes | None = b"ada"
    headers: Sequence[tuple[str, bytes | None]] = ()

    def __str__(self) -> str:
        return self.name


def without(name: str) -> Callable[[str], bytes]:
    return lambda trigger_id: trigger_json(**({"id": trigger_id, "user_id": "ada"} | {name: ...}))


def with_field(**but: Any) -> Callable[[str], bytes]:
    return lambda trigger_id: trigger_json(**({"id": trigger_id, "user_id": "ada"} | but))


def always(value: bytes | None) -> Callable[[str], bytes | None]:
    return lambda trigger_id: value


BAD = [
    Bad("not JSON", always(b"amount=12.50&user=ada"), "not_json", "is not JSON"),
    Bad("cut off", lambda trigger_id: trigger_json(id=trigger_id, user_id="ada")[:-7], "not_json", "is not JSON"),
    Bad("empty", always(b""), "not_json", "no value"),
    Bad("a null value", always(None), "not_json", "no value"),
    Bad("UTF-16", lambda trigger_id: trigger_json(id=trigger_id).decode().encode("utf-16"), "not_json", "is not UTF-8"),
    Bad("bad UTF-8 in the value", always(b'{"id": "x\xff", "user_id": "ada"}'), "not_json", "is not UTF-8"),
    Bad("bad UTF-8 in the data", always(trigger_json(id="x", data={"a": "?"}).replace(b"?", b"\xc3")), "not_json", ""),
    Bad("an array", always(b'[{"id": "x"}]'), "invalid", "the trigger must be an object, found a list"),
    Bad("a string", always(b'"ada"'), "invalid", "the trigger must be an object, found text"),
    Bad("null as JSON", always(b"null"), "invalid", "the trigger must be an object, found null"),
    Bad("no id", without("id"), "invalid", "`id` is missing"),
    Bad("no user_id", without("user_id"), "invalid", "`user_id` is missing"),
    Bad("no category", without("category"), "invalid", "`category` is missing"),
    Bad("no template, no title and body", without("template"), "invalid", "either `template`, or `title` and `body`"),
    Bad("a number as user_id", with_field(user_id=42), "invalid", "`user_id` "),
    Bad("an empty user_id", with_field(user_id=""), "invalid", "`user_id` "),
    Bad("an id of 129 characters", with_field(id="x" * 129), "invalid", "`id` "),
    Bad("a word as isCritical", with_field(isCritical="yes"), "invalid", "`isCritical` "),
    Bad("an unknown channel", with_field(channels=["pigeon"]), "invalid", "`channels[0]` must be one of"),
    Bad("no channel", with_field(channels=[]), "invalid", "`channels` is empty"),
    Bad("data that is no object", with_field(data="12.50"), "invalid", "`data` must be an object"),
    Bad("not a time", with_field(created_at="yesterday"), "invalid", "`created_at` "),
    Bad("a time without a zone", with_field(expires_at="2026-11-22T10:00:00"), "invalid", "`expires_at` "),
    Bad("nested a thousand deep", always(b'{"a":' * 1000 + b"1" + b"}" * 1000), "invalid", "nested deeper"),
    Bad("unknown category", with_field(category="gossip"), "unknown_category", "'gossip'; there are: payments"),
    Bad("a template that the category lacks", with_field(template="pasword_changed"), "unknown_template", "there are:"),
    Bad("another system's category", with_field(category="security"), "category_not_allowed", "the system 'payments'"),
    Bad("an id with a tab", lambda trigger_id: trigger_json(id=f"{trigger_id}\t1"), "invalid", "`id` has a control"),
    Bad("a blank before the user_id", with_field(user_id=" ada"), "invalid", "`user_id` has a control"),
    Bad("data that forges a mark", with_field(data={"notify_critical": "1"}), "invalid", "'notify_critical'"),
    Bad("data with a name of FCM", with_field(data={"from": "A"}), "invalid", "reserved name 'from'"),
    Bad("1 MB of payload", with_field(data={"padding": "x" * 1024 * 1024}), "too_large", "the limit is 262144"),
    Bad(
        "an id that is not UTF-8 in a CloudEvents header",
        without("id"),
        "invalid",
        "the header `ce_id` or `ce_source` is not UTF-8",
        headers=[("ce_id", b"\xff\xfe")],
    ),
    Bad("a header without content", always(b"?"), "not_json", "", headers=[("empty", None), ("detail", None)]),
    Bad("bad UTF-8 in the key", always(b"?"), "not_json", "", key=b"\xff\xfe\xfd"),
    Bad("bad UTF-8 in a header", always(b"?"), "not_json", "", headers=[("trace", b"\xff\xfe"), ("critical", b"\xff")]),
]


@dataclass
class Sent:
    """What was written, and the result when the region was idle again."""

    places: dict[str, RecordPosition]
    values: dict[str, bytes | None]
    #: A valid trigger that was written after each bad record, to the same partition.
    followers: dict[str, str]
    letters: dict[RecordPosition, DeadLetter]
    sums: dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sent(running_region: RunningRegion) -> AsyncIterator[Sent]:
    """Send all of `BAD`, each followed by a valid trigger, and wait until the region is idle."""
    places, values, followers = {}, {}, {}
    for bad in BAD:
        value = values[bad.name] = bad.value(a_new_id("bad"))
        places[bad.name] = await running_region.send(
            TOPIC, value, key=bad.key, partition=running_region.bucket("ada"), headers=bad.headers
        )
        followers[bad.name] = await running_region.trigger("ada")
    sums = await running_region.audited()
    yield Sent(places, values, followers, await running_region.dead_letters(), sums)


@pytest.mark.parametrize("bad", BAD, ids=str)
async def test_a_bad_record_becomes_a_dead_letter_with_its_reason(bad: Bad, sent: Sent) -> None:
    place = sent.places[bad.name]
    letter = sent.letters[place]
    assert letter.diagnosis["reason"] == bad.reason
    assert bad.detail in letter.diagnosis["detail"]
    assert (letter.key, letter.value) == (bad.key, sent.values[bad.name] or b"")
    assert letter.client_headers == list(bad.headers)


@pytest.mark.parametrize("bad", BAD, ids=str)
async def test_the_trigger_after_it_is_notified_once(bad: Bad, sent: Sent, running_region: RunningRegion) -> None:
    assert running_region.channels(sent.followers[bad.name]) == ["email", "push"]


async def test_the_ledger_counts_dead_letters_by_reason(sent: Sent) -> None:
    wanted: dict[str, int] = {}
    for bad in BAD:
        wanted[bad.reason] = wanted.get(bad.reason, 0) + 1
    counted = sent.sums["dead_reasons"]
    assert all(counted[reason] >= number for reason, number in wanted.items())


async def test_a_trigger_for_an_unknown_user_becomes_a_dead_letter(running_region: RunningRegion) -> None:
    trigger_id = a_new_id()
    value = trigger_json(id=trigger_id, user_id="not-signed-up")
    await running_region.send(TOPIC, value, key="not-signed-up")
    await running_region.audited()
    letters = (await running_region.dead_letters()).values()
    (letter,) = [one for one in letters if one.value == value]  # of the copy that was read after the time to wait
    assert letter.diagnosis["reason"] == "unknown_user"
    assert running_region.channels(trigger_id) == []


async def test_a_record_without_a_key_is_repartitioned_only_if_it_is_in_the_wrong_partition(
    running_region: RunningRegion,
) -> None:
    before = (await running_region.audited())["repartitioned"]
    ids = [a_new_id() for _ in range(running_region.settings.partitions)]
    for partition, trigger_id in enumerate(ids):
        await running_region.send(TOPIC, trigger_json(id=trigger_id, user_id="ada"), partition=partition)
    sums = await running_region.assert_notified_once(*ids)
    assert sums["repartitioned"] - before == len(ids) - 1


async def test_a_record_in_the_partition_of_its_crc32_is_repartitioned_and_notified_once(
    running_region: RunningRegion,
) -> None:
    partitions = running_region.settings.partitions
    before = (await running_region.audited())["repartitioned"]
    astray = 0
    ids = {}
    for user_id in USERS:
        partition = crc32(user_id.encode()) % partitions
        astray += partition != running_region.bucket(user_id)
        ids[user_id] = a_new_id("crc")
        await running_region.send(
            TOPIC, trigger_json(id=ids[user_id], user_id=user_id), key=user_id, partition=partition
        )
    assert astray, "no record is in the wrong partition"
    sums = await running_region.assert_notified_once(*ids.values())
    assert sums["repartitioned"] - before == astray


async def test_a_critical_record_in_the_wrong_partition_stays_critical(running_region: RunningRegion) -> None:
    trigger_id = a_new_id("crc")
    wrong = (running_region.bucket("ada") + 1) % running_region.settings.partitions
    await running_region.send(
        TOPIC, trigger_json(id=trigger_id, user_id="ada"), key="ada", partition=wrong, headers=[("critical", b"1")]
    )
    await running_region.audited()
    assert [line.critical for line in running_region.provider_log()[trigger_id]] == [True, True]


async def test_a_header_name_that_is_not_utf8_does_not_stop_the_partition(running_region: RunningRegion) -> None:
    """Brokers accept such a record, and C clients can write one."""
    before = a_new_id()
    dead, good, after = b"{", trigger_json(id=before, user_id="ada"), a_new_id()
    base = await _send_with_bad_header_name(running_region, running_region.bucket("ada"), [dead, good])
    await running_region.trigger("ada", id=after)
    await running_region.assert_notified_once(before, after)
    letter = (await running_region.dead_letters())[RecordPosition(TOPIC, running_region.bucket("ada"), base)]
    assert letter.value == dead
    assert letter.client_headers == [("\\xff\\xfe-bytes", b"1")]


async def test_client_headers_with_our_names_are_ignored(running_region: RunningRegion) -> None:
    """A client may use `source`, `hops` or `offset` for its own purposes."""
    headers = [("source", b"app"), ("hops", b"many"), ("offset", b"-1"), ("reason", None), ("id", b"\xff")]
    trigger_id = a_new_id()
    await running_region.send(TOPIC, trigger_json(id=trigger_id, user_id="ada"), key="ada", headers=headers)
    wrong = (running_region.bucket("ada") + 1) % running_region.settings.partitions
    repartitioned_id = a_new_id()
    await running_region.send(
        TOPIC, trigger_json(id=repartitioned_id, user_id="ada"), key="ada", partition=wrong, headers=headers
    )
    place = await running_region.send(TOPIC, b"{", key="ada", headers=headers)
    await running_region.assert_notified_once(trigger_id, repartitioned_id)
    letter = (await running_region.dead_letters())[place]
    assert (letter.diagnosis["reason"], letter.client_headers) == ("not_json", headers)


async def test_expired_unreachable_and_opted_out_deliveries_are_counted_and_not_sent(
    running_region: RunningRegion,
) -> None:
    expired = await running_region.trigger("ada", expires_at="2020-01-01T00:00:00Z")
    unreachable = await running_region.trigger("silent")
    refused = await running_region.trigger("ben")
    await running_region.audited()
    assert set((await running_region.deliveries(expired)).values()) <= {"expired", "suppressed"}
    assert set((await running_region.deliveries(unreachable, "silent")).values()) == {"suppressed"}
    assert (await running_region.deliveries(refused, "ben"))["push"] == "suppressed"
    assert running_region.channels(expired) == running_region.channels(unreachable) == []
    assert running_region.channels(refused) == ["email"]


async def test_a_dead_letter_of_a_highly_compressed_record_is_cut(running_region: RunningRegion) -> None:
    """A broker checks the compressed size: 20 MB of blanks are accepted, and would be too large for the dead letter topic."""
    async with running_region.producer(compression_type="gzip", max_request_size=32 * 1024 * 1024) as producer:
        bucket = running_region.bucket("ada")
        value = trigger_json(id=a_new_id(), user_id="ada") + b" " * 20 * 1024 * 1024
        done = await producer.send_and_wait(TOPIC, value, b"ada", bucket)
    after = await running_region.trigger("ada")
    await running_region.assert_notified_once(after)
    letter = (await running_region.dead_letters())[RecordPosition(TOPIC, bucket, done.offset)]
    assert letter.diagnosis["reason"] == "too_large" and "cut to its first" in letter.diagnosis["detail"]
    assert letter.value is not None and value.startswith(letter.value)


@pytest.mark.parametrize("topic", [TOPIC, "preference_updates", "user_contacts", "user_signups", "receipts"])
async def test_a_small_record_that_inflates_to_300_mb_stops_nothing(running_region: RunningRegion, topic: str) -> None:
    user_id = a_new_id("user")
    bucket = running_region.bucket(user_id)
    async with RawWriter(running_region.settings.kafka_connection()) as writer:
        assert await writer.write([RawRecord(topic, bucket, b"k", bytes(300_000_000), codec=4)]) == 0
    await running_region.sign_up(user_id)
    await running_region.drained()
    await wait_until_known(running_region, user_id)
    await running_region.assert_notified_once(await running_region.trigger(user_id))
    letters = [one for one in (await running_region.dead_letters()).values() if one.value == UNREAD]
    assert topic in {one.diagnosis["topic"] for one in letters}


@pytest.mark.parametrize("topic", ["preference_updates", "user_contacts", "user_signups", "receipts"])
async def test_bad_user_records_do_not_stop_the_partition(running_region: RunningRegion, topic: str) -> None:
    values = (None, b"", b"not JSON", b"[]", b"{}", b"\xff", b'{"user_id": 7}', b"{" * 5_000, b"x" * 1_000_000)
    user_id = a_new_id("user")
    bucket = running_region.bucket(user_id)
    places = [await running_region.send(topic, value, key=b"\xff", partition=bucket) for value in values]
    await _send_with_bad_header_name(running_region, bucket, [b"?"], topic)
    await running_region.sign_up(user_id)
    await running_region.drained()
    await wait_until_known(running_region, user_id)
    trigger_id = await running_region.trigger(user_id)
    await running_region.assert_notified_once(trigger_id)
    if topic == "user_signups":
        letters = await running_region.dead_letters()
        assert [letters[place].value for place in places] == [value or b"" for value in values]


async def _send_with_bad_header_name(
    region: RunningRegion, partition: int, values: Sequence[bytes], topic: str = TOPIC
) -> int:
    """Write records with a header name that Python clients refuse, in one Kafka batch; returns the first offset."""
    async with region.producer() as producer:
        builder = producer.create_batch()
        raw = BatchBuilder(2, 0, 0, -1, -1, -1, 1_000_000)
        for place, value in enumerate(values):
            raw.append(place, 1_700_000_000_000, b"ada", value, [("XX-bytes", b"1")])
        raw._buffer[:] = raw._buffer.replace(b"XX-bytes", b"\xff\xfe-bytes")
        builder._builder, builder._relative_offset = raw, len(values)
        metadata = await (await producer.send_batch(builder, topic, partition=partition))
        return int(metadata.offset)
