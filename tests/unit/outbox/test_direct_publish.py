"""Copies and repairs are written until Kafka has them, in order."""

from typing import Any

from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.transport import BatchNotSent


class AProducer:
    """Loses the first answers."""

    def __init__(self, losses: int) -> None:
        self.losses = losses
        self.sent: list[tuple[str, int, list[bytes]]] = []

    async def send_batch(self, topic: Any, partition: Any, records: Any) -> None:
        self.sent.append((topic, partition, [value for _, value, _ in records]))
        if self.losses:
            self.losses -= 1
            raise BatchNotSent(topic, partition, range(len(records)), TimeoutError())


async def test_a_lost_answer_is_asked_for_again_before_anything_else_is_written() -> None:
    producer = AProducer(losses=1)
    await publish_directly(producer, [("a", 1, b"k", b"1", ()), ("b", 1, b"k", b"2", ()), ("a", 1, b"k", b"3", ())])
    assert producer.sent == [("a", 1, [b"1", b"3"]), ("a", 1, [b"1", b"3"]), ("b", 1, [b"2"])]
