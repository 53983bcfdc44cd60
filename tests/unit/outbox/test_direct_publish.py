"""Direct publication repeats until Kafka has acknowledged, in order."""

from collections.abc import Sequence
from typing import Any

from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.transport import BatchNotSent, RecordTooLarge


class UnreliableProducer:
    """Its first `failures` sends arrive, but are not acknowledged."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.sent: list[tuple[str, int, list[bytes]]] = []

    async def send_batch(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        self.sent.append((topic, partition, [value for _, value, _ in records]))
        if self.failures:
            self.failures -= 1
            raise BatchNotSent(topic, partition, range(len(records)), TimeoutError())


async def test_an_unacknowledged_batch_is_sent_again_before_the_next() -> None:
    producer = UnreliableProducer(failures=1)
    await publish_directly(producer, [("a", 1, b"k", b"1", ()), ("b", 1, b"k", b"2", ()), ("a", 1, b"k", b"3", ())])
    assert producer.sent == [("a", 1, [b"1", b"3"]), ("a", 1, [b"1", b"3"]), ("b", 1, [b"2"])]


async def test_a_record_that_is_too_large_does_not_stop_the_others() -> None:
    class Strict(UnreliableProducer):
        async def send_batch(self, topic: str, partition: int, records: Sequence[Any]) -> None:
            for index, (_, value, _) in enumerate(records):
                if len(value) > 3:
                    raise RecordTooLarge(topic, partition, index, len(value), 3)
            await super().send_batch(topic, partition, records)

    producer = Strict(failures=0)
    await publish_directly(producer, [("a", 1, b"k", value, ()) for value in (b"1", b"large", b"3")])
    assert [value for _, _, values in producer.sent for value in values] == [b"1", b"3"]
