"""A defect of stock Faust that the batched transport does not have. Fails once Faust has fixed it."""

from typing import Any

import pytest

from notify_streams.transport import batched_topic
from tests.integration.transport.conftest import NewApp, Running
from tests.integration.transport.kafka_topics import a_topic, committed, fill, until


@pytest.mark.parametrize(
    "scheme",
    [
        "batched",
        pytest.param(
            "kafka", marks=pytest.mark.xfail(strict=True, reason="faust#606: commits past an event in flight")
        ),
    ],
)
async def test_a_commit_never_passes_an_event_in_flight(
    kafka_bootstrap: str, new_app: NewApp, running: Running, scheme: str
) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    # Otherwise stock Faust waits for the event in flight, without a limit.
    app = new_app(scheme=scheme, stream_wait_empty=False)
    events: list[Any] = []
    source = batched_topic(app, topic) if scheme == "batched" else app.topic(topic, value_serializer="raw")

    @app.agent(source)
    async def keep(stream: Any) -> None:
        async for event in stream.noack().events():
            assert event.value is not None
            events.append(event)

    async with running(app):
        for n in range(5):
            await fill(kafka_bootstrap, topic, 0, [b"%d" % n])
            await until(lambda: len(events) == n + 1)  # noqa: B023 - awaited in the same iteration
        for event in events[1:]:
            event.ack()
        await app.consumer.commit()
        assert not await committed(kafka_bootstrap, app.conf.id, topic)
        events[0].ack()
        await app.consumer.commit()
        assert await committed(kafka_bootstrap, app.conf.id, topic) == 5
