"""The Faust transport under the URL scheme `batched`: its consumer, its producer, its life cycle.

In: a `batched://host:port` URL. Out: what `faust.transport.drivers` expects. Nothing else is decided here.
"""

from __future__ import annotations

from typing import ClassVar

from faust.transport.drivers import aiokafka as stock
from faust.types.transports import ConsumerT, ProducerT

from notify_streams.transport.app_state import app_state, kafka_connection
from notify_streams.transport.batch_producer import BatchProducer
from notify_streams.transport.consumer import Consumer


class Producer(stock.Producer):
    """Faust's producer, and beside it the batch producer and the tables, which start and stop with it."""

    async def on_start(self) -> None:
        await super().on_start()
        declared = app_state(self.app)
        client_id = self.app.conf.broker_client_id
        declared.producer = BatchProducer(kafka_connection(self.app), declared.settings, client_id=client_id)
        await declared.producer.start()
        for start, _ in declared.lifecycles:
            await start()

    async def on_stop(self) -> None:
        declared = app_state(self.app)
        for _, stop in reversed(declared.lifecycles):
            await stop()
        if declared.producer is not None:
            await declared.producer.stop()
            declared.producer = None
        await super().on_stop()


class Transport(stock.Transport):
    """Kafka, one event a partition batch for the topics declared as batched."""

    Consumer: ClassVar[type[ConsumerT]] = Consumer
    Producer: ClassVar[type[ProducerT]] = Producer
    driver_version = f"batched on {stock.Transport.driver_version}"
