"""The Faust transport for broker URLs with the scheme `batched://`."""

from __future__ import annotations

from typing import ClassVar

from faust.transport.drivers import aiokafka as stock
from faust.types.transports import ConsumerT, ProducerT

from notify_streams.kafka import check_connection
from notify_streams.transport.app_state import app_state, kafka_connection
from notify_streams.transport.batch_producer import BatchProducer
from notify_streams.transport.consumer import Consumer
from notify_streams.transport.health_monitor import monitor


class MonitoredConsumer(Consumer):
    """The consumer, with the health monitor that runs beside it."""

    async def on_start(self) -> None:
        await super().on_start()
        self.add_future(monitor(self))


class Producer(stock.Producer):
    """Faust's producer, with the batch producer and the lifecycles (tables) that start and stop with it."""

    async def on_start(self) -> None:
        state = app_state(self.app)
        await check_connection(kafka_connection(self.app), state.settings.request_timeout_s)
        await super().on_start()
        kafka_connection(self.app).follow(self._ensure_producer())
        client_id = self.app.conf.broker_client_id
        state.producer = BatchProducer(kafka_connection(self.app), state.settings, client_id=client_id)
        await state.producer.start()
        for start, _ in state.lifecycles:
            await start()

    async def on_stop(self) -> None:
        state = app_state(self.app)
        for _, stop in reversed(state.lifecycles):
            await stop()
        if state.producer is not None:
            await state.producer.stop()
            state.producer = None
        await super().on_stop()


class Transport(stock.Transport):
    """Kafka, with one event a batch for the topics declared as batched."""

    Consumer: ClassVar[type[ConsumerT]] = MonitoredConsumer
    Producer: ClassVar[type[ProducerT]] = Producer
    driver_version = f"batched on {stock.Transport.driver_version}"
