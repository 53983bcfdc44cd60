# ruff: noqa
# mypy: ignore-errors
import time
from datetime import UTC, datetime
from random import Random
from statistics import median
import pytest
from notify_streams.preferences import repository
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.user_records import PreferenceUpdate

pytestmark = pytest.mark.stack


async def test_measure(env_of):
    env = await env_of()
    await env.start()
    real = repository.add_consents, repository.complete_consents

    async def nothing(*_):
        pass

    r = Random(2)
    rates = {}
    for turn in range(12):
        with_it = turn % 2 == 0
        repository.add_consents, repository.complete_consents = real if with_it else (nothing, nothing)
        key = "with" if with_it else "without"
        at = datetime.now(UTC)
        for name, users in (("new", f"n{turn}-"), ("known", f"{key}-")):
            batches = [
                [
                    (b, PreferenceUpdate(f"{users}{b}-{i}", "marketing", "push", r.random() < 0.5, at))
                    for i in range(1000)
                ]
                for b in range(4)
            ]
            began = time.perf_counter()
            for b in batches:
                await env.writer.apply_updates(b)
            rates.setdefault((name, "batch 1000", key), []).append(4000 / (time.perf_counter() - began))
        began = time.perf_counter()
        for i in range(40):
            await env.writer.apply_updates(
                [(1, PreferenceUpdate(f"{key}-1-{j}", "payments", "push", r.random() < 0.5, at)) for j in range(10)]
            )
        rates.setdefault(("known", "batch 10", key), []).append(400 / (time.perf_counter() - began))
        took = []
        for i in range(60):
            began = time.perf_counter()
            await env.writer.put(
                f"{key}-{i}", 0, "marketing", "push", bool(turn % 3), datetime.now(UTC), ChoiceSource.API
            )
            took.append(1000 * (time.perf_counter() - began))
        rates.setdefault(("put ms", "p50", key), []).append(median(took))
    repository.add_consents, repository.complete_consents = real
    for key, values in rates.items():
        print(*key, round(median(values[1:]), 1))
