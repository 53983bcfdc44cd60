"""Whatever a client writes: no partition stops, nothing is lost, and its sender is told what was wrong with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy as BatchBuilder

from tests.builders import trigger_json
from tests.e2e.running_region import CROWD, Letter, Place, RegionAtWork, a_new_id, known

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]

TOPIC = "triggers.payments"


@dataclass(frozen=True)
class Bad:
    """One record that cannot be what its sender meant."""

    name: str
    #: From a new trigger id to the record's value.
    value: Callable[[str], bytes | None]
    reason: str
    #: Part of the sentence that its sender reads.
    detail: str
    key: bytes | None = b"ada"
    headers: Sequence[tuple[str, bytes | None]] = ()

    def __str__(self) -> str:
        return self.name


def without(name: str) -> Callable[[str], bytes]:
    return lambda identity: trigger_json(**({"id": identity, "user_id": "ada"} | {name: ...}))


def with_field(**but: Any) -> Callable[[str], bytes]:
    return lambda identity: trigger_json(**({"id": identity, "user_id": "ada"} | but))


def always(value: bytes | None) -> Callable[[str], bytes | None]:
    return lambda identity: value


BAD = [
    Bad("not JSON", always(b"amount=12.50&user=ada"), "not_json", "is not JSON"),
    Bad("cut off", lambda identity: trigger_json(id=identity, user_id="ada")[:-7], "not_json", "is not JSON"),
    Bad("empty", always(b""), "not_json", "no value"),
    Bad("a null value", always(None), "not_json", "no value"),
    Bad("UTF-16", lambda identity: trigger_json(id=identity).decode().encode("utf-16"), "not_json", "is not JSON"),
    Bad("bad UTF-8 in the value", always(b'{"id": "x\xff", "user_id": "ada"}'), "not_json", "is not JSON"),
    Bad("bad UTF-8 in the data", always(trigger_json(id="x", data={"a": "?"}).replace(b"?", b"\xc3")), "not_json", ""),
    Bad("an array", always(b'[{"id": "x"}]'), "invalid", "Expected `object`, got `array`"),
    Bad("a string", always(b'"ada"'), "invalid", "Expected `object`, got `str`"),
    Bad("null as JSON", always(b"null"), "invalid", "Expected `object`, got `null`"),
    Bad("no id", without("id"), "invalid", "missing required field `id`"),
    Bad("no user_id", without("user_id"), "invalid", "missing required field `user_id`"),
    Bad("no category", without("category"), "invalid", "missing required field `category`"),
    Bad("no template, no title and body", without("template"), "invalid", "either `template`, or `title` and `body`"),
    Bad("a number as user_id", with_field(user_id=42), "invalid", "`$.user_id`"),
    Bad("an empty user_id", with_field(user_id=""), "invalid", "`$.user_id`"),
    Bad("an id of 129 characters", with_field(id="x" * 129), "invalid", "`$.id`"),
    Bad("a word as isCritical", with_field(isCritical="yes"), "invalid", "`$.isCritical`"),
    Bad("a channel that there is not", with_field(channels=["pigeon"]), "invalid", "pigeon"),
    Bad("no channel", with_field(channels=[]), "invalid", "`channels` is empty"),
    Bad("data that is no object", with_field(data="12.50"), "invalid", "`data` must be a JSON object"),
    Bad("a time that is none", with_field(created_at="yesterday"), "invalid", "`$.created_at`"),
    Bad("a time without a zone", with_field(expires_at="2026-11-22T10:00:00"), "invalid", "`$.expires_at`"),
    Bad("nested a thousand deep", always(b'{"a":' * 1000 + b"1" + b"}" * 1000), "invalid", "nested deeper"),
    Bad("unknown category", with_field(category="gossip"), "unknown_category", "'gossip'; there are: payments"),
    Bad(
        "1 MB of payload",
        with_field(data={"padding": "x" * 1024 * 1024}),
        "too_large",
        "the limit is 262144",
    ),
    Bad(
        "an id that is not UTF-8 in a CloudEvents header",
        without("id"),
        "invalid",
        "`ce_id` is not UTF-8",
        headers=[("ce_id", b"\xff\xfe")],
    ),
    Bad("a header without content", always(b"?"), "not_json", "", headers=[("empty", None), ("detail", None)]),
    Bad("bad UTF-8 in the key", always(b"?"), "not_json", "", key=b"\xff\xfe\xfd"),
    Bad("bad UTF-8 in a header", always(b"?"), "not_json", "", headers=[("trace", b"\xff\xfe"), ("critical", b"\xff")]),
]


@dataclass
class Sent:
    """What was written, and what had become of it when the region was quiet again."""

    places: dict[str, Place]
    values: dict[str, bytes | None]
    #: A good trigger that was written behind each bad record, to the same partition.
    followers: dict[str, str]
    letters: dict[Place, Letter]
    sums: dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sent(region_at_work: RegionAtWork) -> AsyncIterator[Sent]:
    """All of `BAD`, each with a good trigger on its heels; then silence."""
    places, values, followers = {}, {}, {}
    for bad in BAD:
        values[bad.name] = bad.value(a_new_id("bad"))
        places[bad.name] = await region_at_work.send(
            TOPIC,
            values[bad.name],
            key=bad.key,
            partition=region_at_work.bucket("ada"),
            headers=bad.headers,
        )
        followers[bad.name] = await region_at_work.trigger("ada")
    sums = await region_at_work.closed()
    yield Sent(places, values, followers, await region_at_work.dead_letters(), sums)


@pytest.mark.parametrize("bad", BAD, ids=str)
async def test_what_is_no_trigger_becomes_a_dead_letter_that_says_why(bad: Bad, sent: Sent) -> None:
    place = sent.places[bad.name]
    letter = sent.letters[place]
    assert letter.why["reason"] == bad.reason
    assert bad.detail in letter.why["detail"]
    assert (letter.why["topic"], letter.why["partition"], letter.why["offset"]) == (
        TOPIC,
        str(place.partition),
        str(place.offset),
    )
    assert (letter.key, letter.value) == (bad.key, sent.values[bad.name] or b"")
    assert letter.senders_headers == list(bad.headers)


@pytest.mark.parametrize("bad", BAD, ids=str)
async def test_the_trigger_behind_it_is_notified_once(bad: Bad, sent: Sent, region_at_work: RegionAtWork) -> None:
    assert region_at_work.channels(sent.followers[bad.name]) == ["email", "push"]


async def test_the_ledger_counts_every_one_of_them_by_its_reason(sent: Sent) -> None:
    wanted: dict[str, int] = {}
    for bad in BAD:
        wanted[bad.reason] = wanted.get(bad.reason, 0) + 1
    counted = sent.sums["dead_reasons"]
    assert all(counted[reason] >= number for reason, number in wanted.items())


async def test_a_user_whom_nobody_signed_up_is_unknown_and_their_triggers_are_kept(
    region_at_work: RegionAtWork,
) -> None:
    identity = a_new_id()
    value = trigger_json(id=identity, user_id="nobody")
    place = await region_at_work.send(TOPIC, value, key="nobody")
    await region_at_work.closed()
    letter = (await region_at_work.dead_letters())[place]
    assert (letter.why["reason"], letter.value) == ("unknown_user", value)
    assert region_at_work.channels(identity) == []


async def test_a_null_key_costs_nothing_in_the_right_partition_and_a_detour_in_another(
    region_at_work: RegionAtWork,
) -> None:
    home = region_at_work.bucket("ada")
    before = (await region_at_work.closed())["repartitioned"]
    ids = [a_new_id() for _ in range(region_at_work.settings.partitions)]
    for partition, identity in enumerate(ids):
        await region_at_work.send(TOPIC, trigger_json(id=identity, user_id="ada"), partition=partition)
    sums = await region_at_work.closed()
    assert [region_at_work.channels(identity) for identity in ids] == [["email", "push"]] * len(ids)
    assert sums["repartitioned"] - before == len(ids) - 1
    assert home in range(len(ids))


async def test_a_record_in_the_partition_of_its_crc32_is_handed_to_its_bucket_and_notified_once(
    region_at_work: RegionAtWork,
) -> None:
    partitions = region_at_work.settings.partitions
    before = (await region_at_work.closed())["repartitioned"]
    astray = 0
    ids = {}
    for user_id in CROWD:
        partition = crc32(user_id.encode()) % partitions
        astray += partition != region_at_work.bucket(user_id)
        ids[user_id] = a_new_id("crc")
        await region_at_work.send(
            TOPIC, trigger_json(id=ids[user_id], user_id=user_id), key=user_id, partition=partition
        )
    assert astray, "not one of them is astray: the test shows nothing"
    sums = await region_at_work.closed()
    assert sums["repartitioned"] - before == astray
    assert all(region_at_work.channels(identity) == ["email", "push"] for identity in ids.values())


async def test_a_critical_record_in_the_wrong_partition_stays_critical(region_at_work: RegionAtWork) -> None:
    identity = a_new_id("crc")
    wrong = (region_at_work.bucket("ada") + 1) % region_at_work.settings.partitions
    await region_at_work.send(
        TOPIC, trigger_json(id=identity, user_id="ada"), key="ada", partition=wrong, headers=[("critical", b"1")]
    )
    await region_at_work.closed()
    assert [line.critical for line in region_at_work.record()[identity]] == [True, True]


async def test_a_header_name_that_is_not_utf8_stops_nothing(region_at_work: RegionAtWork) -> None:
    """No broker refuses such a record, and a C client writes one without noticing."""
    before = a_new_id()
    dead, good, behind = b"{", trigger_json(id=before, user_id="ada"), a_new_id()
    base = await _send_misnamed(region_at_work, region_at_work.bucket("ada"), [dead, good])
    await region_at_work.trigger("ada", id=behind)
    await region_at_work.closed()
    letter = (await region_at_work.dead_letters())[Place(TOPIC, region_at_work.bucket("ada"), base)]
    assert letter.value == dead
    assert letter.senders_headers == [("\\xff\\xfe-bytes", b"1")]
    assert region_at_work.channels(before) == region_at_work.channels(behind) == ["email", "push"]


async def test_headers_that_we_use_ourselves_do_not_fool_us(region_at_work: RegionAtWork) -> None:
    """A sender's `source`, `hops` or `offset` means something to the sender alone."""
    headers = [("source", b"app"), ("hops", b"many"), ("offset", b"-1"), ("reason", None), ("id", b"\xff")]
    identity = a_new_id()
    await region_at_work.send(TOPIC, trigger_json(id=identity, user_id="ada"), key="ada", headers=headers)
    wrong = (region_at_work.bucket("ada") + 1) % region_at_work.settings.partitions
    detour = a_new_id()
    await region_at_work.send(
        TOPIC, trigger_json(id=detour, user_id="ada"), key="ada", partition=wrong, headers=headers
    )
    place = await region_at_work.send(TOPIC, b"{", key="ada", headers=headers)
    await region_at_work.closed()
    letter = (await region_at_work.dead_letters())[place]
    assert (letter.why["reason"], letter.senders_headers) == ("not_json", headers)
    assert region_at_work.channels(identity) == region_at_work.channels(detour) == ["email", "push"]


async def test_an_expired_trigger_and_one_nobody_can_be_reached_by_are_counted_not_sent(
    region_at_work: RegionAtWork,
) -> None:
    expired = await region_at_work.trigger("ada", expires_at="2020-01-01T00:00:00Z")
    unreachable = await region_at_work.trigger("silent")
    refused = await region_at_work.trigger("ben")
    await region_at_work.closed()
    assert set((await region_at_work.deliveries(expired)).values()) <= {"expired", "suppressed"}
    assert set((await region_at_work.deliveries(unreachable, "silent")).values()) == {"suppressed"}
    assert (await region_at_work.deliveries(refused, "ben"))["push"] == "suppressed"
    assert region_at_work.channels(expired) == region_at_work.channels(unreachable) == []
    assert region_at_work.channels(refused) == ["email"]


async def test_a_record_that_a_client_compressed_to_nothing_is_cut_and_stops_nothing(
    region_at_work: RegionAtWork,
) -> None:
    """A broker measures what arrives: 20 MB of blanks come through as a few bytes, and would fit no topic on their way out."""
    async with AIOKafkaProducer(
        bootstrap_servers=region_at_work.settings.kafka, compression_type="gzip", max_request_size=32 * 1024 * 1024
    ) as producer:
        bucket = region_at_work.bucket("ada")
        value = trigger_json(id=a_new_id(), user_id="ada") + b" " * 20 * 1024 * 1024
        done = await producer.send_and_wait(TOPIC, value, b"ada", bucket)
    behind = await region_at_work.trigger("ada")
    await region_at_work.closed()
    letter = (await region_at_work.dead_letters())[Place(TOPIC, bucket, done.offset)]
    assert letter.why["reason"] == "too_large" and "cut to its first" in letter.why["detail"]
    assert letter.value is not None and value.startswith(letter.value)
    assert region_at_work.channels(behind) == ["email", "push"]


@pytest.mark.parametrize("topic", ["preference_updates", "user_contacts", "user_signups", "receipts"])
async def test_bad_records_about_people_stop_no_partition_either(region_at_work: RegionAtWork, topic: str) -> None:
    values = (None, b"", b"not JSON", b"[]", b"{}", b"\xff", b'{"user_id": 7}', b"{" * 5_000, b"x" * 1_000_000)
    user_id = a_new_id("person")
    bucket = region_at_work.bucket(user_id)
    places = [await region_at_work.send(topic, value, key=b"\xff", partition=bucket) for value in values]
    await _send_misnamed(region_at_work, bucket, [b"?"], topic)
    await region_at_work.sign_up(user_id)
    await region_at_work.drained()
    await known(region_at_work, user_id)
    identity = await region_at_work.trigger(user_id)
    await region_at_work.closed()
    assert region_at_work.channels(identity) == ["email", "push"]
    if topic == "user_signups":
        letters = await region_at_work.dead_letters()
        assert [letters[place].value for place in places] == [value or b"" for value in values]


async def _send_misnamed(region: RegionAtWork, partition: int, values: Sequence[bytes], topic: str = TOPIC) -> int:
    """Write records with a header name that no Python client would write, in one Kafka batch; the first one's offset."""
    async with AIOKafkaProducer(bootstrap_servers=region.settings.kafka) as producer:
        builder = producer.create_batch()
        raw = BatchBuilder(2, 0, 0, -1, -1, -1, 1_000_000)
        for place, value in enumerate(values):
            raw.append(place, 1_700_000_000_000, b"ada", value, [("XX-bytes", b"1")])
        raw._buffer[:] = raw._buffer.replace(b"XX-bytes", b"\xff\xfe-bytes")
        builder._builder, builder._relative_offset = raw, len(values)
        metadata = await (await producer.send_batch(builder, topic, partition=partition))
        return int(metadata.offset)
