"""What stock Faust gets wrong, as one claim for both transports; strict, so that we hear when Faust repairs it."""

import pytest

from notify_streams.transport import batched_topic
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
async def test_nothing_in_flight_is_ever_committed_past(kafka_bootstrap, new_app, running, scheme) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    # Stock Faust would wait for the event in flight without a bound, and this test would never end.
    app, events = new_app(scheme=scheme, stream_wait_empty=False), []
    source = batched_topic(app, topic) if scheme == "batched" else app.topic(topic, value_serializer="raw")

    @app.agent(source)
    async def keep(stream):
        async for event in stream.noack().events():
            assert event.value is not None
            events.append(event)

    async with running(app):
        for n in range(5):
            await fill(kafka_bootstrap, topic, 0, [b"%d" % n])
            await until(lambda n=n: len(events) == n + 1)
        for event in events[1:]:
            event.ack()
        await app.consumer.commit()
        assert not await committed(kafka_bootstrap, app.conf.id, topic)
        events[0].ack()
        await app.consumer.commit()
        assert await committed(kafka_bootstrap, app.conf.id, topic) == 5
