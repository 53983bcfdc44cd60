"""Nothing is sent to an erased person: messages under way are refused, and no import brings the person back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from notify_streams.erasure.store import ErasureStore
from notify_streams.preferences.choices import EMPTY_RECORD
from notify_streams.records.outcomes import Reason
from notify_streams.secret import Secret
from notify_streams.settings_public import PublicSettings
from tests.integration.preferences.conftest import OpenEnv
from tests.integration.preferences.preference_fixtures import (
    BUCKET,
    ProcessPreferences,
    a_message,
    an_update,
    now,
    reasons,
)

KEY = "k" * 32
USER = "u-1"
ALWAYS = {"category": "security", "channel": "push"}


@pytest.fixture
async def env(env_of: OpenEnv, kept: Callable[[ProcessPreferences], Awaitable[None]]) -> ProcessPreferences:
    found = await env_of(public=PublicSettings(address_key=Secret(KEY)))
    await kept(found)
    return found


async def test_messages_under_way_are_refused_in_and_after_both_passes(env: ProcessPreferences) -> None:
    await env.writer.import_updates([(BUCKET, an_update(user_id=USER, opted_in=True))])
    young, old = a_message(user_id=USER), a_message(user_id=USER, decided_at=now() - timedelta(hours=1))
    # Decided by a later version than any that is left: it would stand.
    newer = a_message(user_id=USER, decided_at=now() - timedelta(hours=1), preference_version=9)
    always = a_message(user_id=USER, **ALWAYS)
    other = a_message(user_id="u-2")
    assert set(await reasons(env, young, old, always, other)) == {None}
    await ErasureStore(env.shards, KEY.encode(), 5.0).open(USER, BUCKET, now())
    await env.erased.refuse_all(USER, BUCKET, now())
    assert await reasons(env, young, old, newer, always, other) == [Reason.ERASED] * 4 + [None]
    assert await reasons(env, always) == [Reason.ERASED], "though no choice can refuse it, and no other message asks"
    await env.erased.forget(USER, BUCKET)
    assert await env.repository.read(BUCKET, USER) == EMPTY_RECORD
    assert await env.deltas.read([USER]) == [None]
    old_always = a_message(user_id=USER, decided_at=now() - timedelta(hours=1), **ALWAYS)
    assert await reasons(env, old, newer, old_always, other) == [Reason.ERASED] * 3 + [None]
    assert await reasons(env, old_always) == [Reason.ERASED]


async def test_an_import_does_not_bring_the_person_back(env: ProcessPreferences) -> None:
    await ErasureStore(env.shards, KEY.encode(), 5.0).open(USER, BUCKET, now())
    mine, others = an_update(user_id=USER, opted_in=True), an_update(user_id="u-2")
    rejected = await env.writer.import_updates([(BUCKET, mine), (BUCKET, others)])
    assert [(index, why.detail) for index, why in rejected] == [(0, "the person was erased")]
    assert await env.repository.read(BUCKET, USER) == EMPTY_RECORD
    assert (await env.repository.read(BUCKET, "u-2")).version == 1


async def test_a_worker_that_was_too_slow_changes_nothing_of_what_another_one_has_done(env: ProcessPreferences) -> None:
    store, began = ErasureStore(env.shards, KEY.encode(), 5.0), now()
    settled, later = began + timedelta(seconds=800), began + timedelta(seconds=130)
    await store.open(USER, BUCKET, began)
    (slow,) = await store.take_due(began)
    (quick,) = await store.take_due(later)
    await store.first_pass_made(quick, later, settled)
    await store.postpone(slow, later)
    await store.first_pass_made(slow, later, settled + timedelta(seconds=600))
    await store.finish(slow, later)
    assert await store.take_due(settled - timedelta(seconds=1)) == [], "the second pass would come too early"
    (second,) = await store.take_due(settled)
    await store.finish(second, settled)
    await store.postpone(slow, later)
    await store.postpone(quick, later)
    document = await store.read(USER, BUCKET)
    assert document is not None
    assert document["finished_at"] and not {"due_at", "user_id"} & document.keys()
