"""Choices by hand, from the topic and in bulk: what is promised holds, what failed was not promised."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from notify_streams.errors import Refused, RetryLater
from notify_streams.preferences.bulk_import import ImportProgress, import_file
from notify_streams.preferences.consents import read_consents
from notify_streams.preferences.row_codec import version_of
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.outcomes import DeadReason
from tests.integration.preferences.conftest import OpenEnv
from tests.integration.preferences.preference_fixtures import BUCKET, ProcessPreferences, an_update, counted, now, put

pytestmark = pytest.mark.stack


async def test_what_was_chosen_by_hand_is_seen_by_every_check_that_follows(
    env_of: OpenEnv, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    published = []

    async def publish(updates: Any, rows: Any) -> None:
        published.extend(updates)

    env, elsewhere = await env_of(publish=publish), await env_of()
    await kept(elsewhere)
    before = counted("notify_redis_unavailable_total")
    for number in range(20):
        version = await put(env, opted_in=bool(number % 2))
        (row,) = await elsewhere.decision.rows_for(BUCKET, ["u-1"])
        assert version_of(row) == version == number + 1
    assert [update.opted_in for _, update in published] == [bool(number % 2) for number in range(20)]
    assert counted("notify_redis_unavailable_total") == before


async def test_what_is_published_wins_over_what_it_replaced_although_clocks_differ(env_of: OpenEnv) -> None:
    published = []

    async def publish(updates: Any, rows: Any) -> None:
        published.extend(updates)

    env = await env_of(publish=publish)
    ahead = now() + timedelta(minutes=2)
    await env.writer.apply_updates([(BUCKET, an_update(opted_in=True, updated_at=ahead))])
    accepted = await env.writer.put("u-1", BUCKET, "marketing", "push", False, now(), ChoiceSource.API)
    assert published == [(BUCKET, an_update(opted_in=False, updated_at=accepted.updated_at, source=ChoiceSource.API))]
    assert accepted.updated_at > ahead - timedelta(milliseconds=1)
    applied = await env.writer.apply_updates(published)
    assert version_of(applied.rows["u-1"]) == accepted.version, "the topic repeats it and changes nothing"


async def test_many_changes_of_one_user_at_once_are_all_stored_and_soon(env_of: OpenEnv) -> None:
    """Two processes of a region, 60 changes at a time, of one choice: none fails."""
    first, second = await env_of(), await env_of()
    durations = []

    async def timed(number: int) -> int:
        began = time.monotonic()
        version = await put((first, second)[number % 2], opted_in=bool(number % 3))
        durations.append(time.monotonic() - began)
        return version

    before = 0
    for start in range(0, 240, 60):
        versions = await asyncio.gather(*(timed(number) for number in range(start, start + 60)))
        assert min(versions) > before, "each change is stored before it is answered"
        before = max(versions)
    assert sorted(durations)[-3] < 1, "the 99th percentile"
    record = await first.repository.read(BUCKET, "u-1")
    assert record.choices[2]["push"].version == before


async def test_a_user_stops_everything_that_can_be_stopped(env_of: OpenEnv) -> None:
    published: list[Any] = []

    async def publish(updates: Any, rows: Any) -> None:
        published.extend(updates)

    env = await env_of(publish=publish)
    stopped = {(1, "push"), (1, "sms"), (1, "email"), (2, "push"), (2, "email"), (3, "sms")}
    await put(env, opted_in=True)
    accepted = await env.writer.put("u-1", BUCKET, "*", "*", False, now(), ChoiceSource.CLI)
    (row,) = (
        await env.writer.apply_updates([(BUCKET, an_update(user_id="u-2", category="*", channel="*"))])
    ).rows.values()
    for user_id in ("u-1", "u-2"):
        choices = (await env.repository.read(BUCKET, user_id)).choices
        assert {(number, channel) for number, channels in choices.items() for channel in channels} == stopped
        assert not any(choice.opted_in for channels in choices.values() for choice in channels.values())
    assert accepted.version == 7 and version_of(row) == 6
    sent = {(update.category, update.channel) for _, update in published if not update.opted_in}
    assert len(sent) == len(stopped)


async def test_nothing_is_promised_without_kafka(env_of: OpenEnv) -> None:
    async def fail(updates: Any, rows: Any) -> None:
        raise OSError("no broker")

    env = await env_of(publish=fail)
    with pytest.raises(RetryLater):
        await put(env)
    assert (await env.repository.read(BUCKET, "u-1")).version == 0, (
        "nor is anything stored of which the tables get no row"
    )


async def test_after_a_crash_behind_the_durable_record_the_topic_brings_the_row(env_of: OpenEnv) -> None:
    published: list[Any] = []

    async def crash_before_the_row(updates: Any, rows: Any) -> None:
        if rows:
            raise OSError("the process ends here")
        published.extend(updates)

    env, registry = await env_of(publish=crash_before_the_row), await env_of()
    with pytest.raises(RetryLater):
        await put(env)
    stored = await registry.repository.read(BUCKET, "u-1")
    assert stored.version == 1 and not stored.choices[2]["push"].opted_in
    assert (await registry.writer.apply_updates(published)).rows == {"u-1": stored.row()}


@pytest.mark.parametrize("behind_ms", [0, 5])
async def test_a_choice_that_the_registry_stores_first_is_one_version_and_one_entry(
    env_of: OpenEnv, behind_ms: int
) -> None:
    """`behind_ms`: Kafka's clock cuts the time."""
    registry = await env_of()

    async def publish(updates: Any, rows: Any) -> None:
        arrived = [
            (bucket, msgspec.structs.replace(one, updated_at=one.updated_at - timedelta(milliseconds=behind_ms)))
            for bucket, one in updates
        ]
        await registry.writer.apply_updates(arrived)

    env = await env_of(publish=publish)
    for version, opted_in in enumerate([False, False, True, False], 1):
        assert await put(env, opted_in=opted_in) == version
        await asyncio.sleep(0.01)  # past the time that was cut
    assert len(await read_consents(env.shards, BUCKET, "u-1")) == 4


async def test_without_redis_a_choice_is_promised_when_no_lease_can_be_left(env_of: OpenEnv) -> None:
    env = await env_of("redis://127.0.0.1:9/0")
    began = time.monotonic()
    assert await put(env) == 1
    assert env.bound.lease_s <= time.monotonic() - began < env.bound.lease_s + 1


async def test_a_batch_from_the_topic_is_applied_once_by_two_roles(
    env_of: OpenEnv, kept: Callable[[ProcessPreferences], Awaitable[None]]
) -> None:
    critical, standard = await env_of(), await env_of()
    await kept(critical)
    batch = [(user % 8, an_update(user_id=f"u-{user}")) for user in range(300)]
    first, second = await asyncio.gather(*(env.writer.apply_updates(batch) for env in (critical, standard)))
    assert first.rows == second.rows == (await critical.writer.apply_updates(batch)).rows
    assert first.rows.keys() == {f"u-{user}" for user in range(300)}
    assert {version_of(row) for row in first.rows.values()} == {1}
    assert first.deltas_written
    assert await critical.deltas.read(["u-7"]) == [first.rows["u-7"]]


async def test_an_update_that_arrives_late_still_brings_the_row_that_holds(env_of: OpenEnv) -> None:
    env = await env_of()
    newer, older = an_update(opted_in=True), an_update(opted_in=False, updated_at=now() - timedelta(hours=1))
    (row,) = (await env.writer.apply_updates([(BUCKET, newer)])).rows.values()
    assert (await env.writer.apply_updates([(BUCKET, older)])).rows == {"u-1": row}


async def test_refused_updates_are_named_and_the_others_applied(env_of: OpenEnv) -> None:
    env = await env_of()
    batch = [
        (BUCKET, an_update(category="spam")),
        (BUCKET, an_update(user_id="u-2")),
        (BUCKET, an_update(category="Marketing")),
        (BUCKET, an_update(user_id="u-3", category="security", channel="*")),
        (BUCKET, an_update(user_id="u-4", category="marketing", channel="*")),
        (BUCKET, an_update(user_id="u-5", category="marketing", channel="sms")),
    ]
    applied = await env.writer.apply_updates(batch)
    assert applied.rows.keys() == {"u-2", "u-3", "u-4", "u-5"}
    assert [(place, why.reason) for place, why in applied.rejected] == [
        (0, DeadReason.UNKNOWN_CATEGORY),
        (2, DeadReason.UNKNOWN_CATEGORY),
    ]


def lines_of(count: Any, bad: Any = ()) -> Any:
    good = [msgspec.json.encode(an_update(user_id=f"u-{number}")) for number in range(1, count + 1)]
    return b"\n".join(b"not json" if number in bad else line for number, line in enumerate(good, 1)) + b"\n"


async def test_an_import_names_bad_lines_and_takes_all_others(env_of: OpenEnv, tmp_path: Path) -> None:
    published: list[Any] = []
    bad: list[Any] = []
    seen: list[Any] = []

    async def publish(updates: Any, rows: Any) -> None:
        published.extend(updates)

    env = await env_of(publish=publish)
    file = tmp_path / "updates.jsonl"
    file.write_bytes(lines_of(1_000, bad={17, 500}) + msgspec.json.encode(an_update(category="spam")))
    done = await import_file(
        file,
        env.writer,
        lambda user_id: BUCKET,
        on_bad_line=lambda number, why: bad.append(number),
        on_progress=seen.append,
        batch_lines=100,
    )
    assert (done.lines, done.applied, done.bad, done.offset) == (1_001, 998, 3, file.stat().st_size)
    assert bad == [17, 500, 1_001]
    assert len(published) == 998
    assert len(await env.repository.rows(BUCKET, [f"u-{number}" for number in range(1, 1_001)])) == 998
    assert [progress.lines for progress in seen] == [*range(100, 1_001, 100), 1_001]


async def test_a_stopped_import_goes_on_from_its_checkpoint(env_of: OpenEnv, tmp_path: Path) -> None:
    published: list[Any] = []
    calls: list[Any] = []

    async def publish(updates: Any, rows: Any) -> None:
        calls.append(len(updates))
        if len(calls) == 4:
            raise OSError("no broker")
        published.extend(update.user_id for _, update in updates)

    env = await env_of(publish=publish)
    file, checkpoint = tmp_path / "updates.jsonl", tmp_path / "updates.at"
    file.write_bytes(lines_of(1_000))
    with pytest.raises(RetryLater):
        await import_file(file, env.writer, lambda user_id: BUCKET, checkpoint=checkpoint, batch_lines=100)
    left_at = msgspec.json.decode(checkpoint.read_bytes(), type=ImportProgress)
    assert left_at.lines % 100 == 0
    assert left_at.lines < 1_000
    done = await import_file(file, env.writer, lambda user_id: BUCKET, checkpoint=checkpoint, batch_lines=100)
    assert (done.lines, done.applied, done.bad) == (1_000, 1_000, 0)
    assert set(published) == {f"u-{number}" for number in range(1, 1_001)}, "every line was published"
    assert not checkpoint.exists()


async def test_a_checkpoint_of_another_file_is_refused(env_of: OpenEnv, tmp_path: Path) -> None:
    env = await env_of()
    file, checkpoint = tmp_path / "updates.jsonl", tmp_path / "updates.at"
    file.write_bytes(lines_of(3))
    checkpoint.write_bytes(msgspec.json.encode(ImportProgress(10, 1, 1, 0, "of another")))
    with pytest.raises(Refused, match="another file"):
        await import_file(file, env.writer, lambda user_id: BUCKET, checkpoint=checkpoint)
    checkpoint.write_bytes(b"garbage")
    with pytest.raises(Refused, match="no checkpoint"):
        await import_file(file, env.writer, lambda user_id: BUCKET, checkpoint=checkpoint)
