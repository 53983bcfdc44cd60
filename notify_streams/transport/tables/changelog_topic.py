"""Creates a table's changelog topic, compacted, before anything is written to it.

In: a name and a partition count. Out: the topic exists with that many partitions, or a clear refusal.
"""

from __future__ import annotations

from aiokafka.admin import NewTopic
from aiokafka.errors import for_code

from notify_streams import kafka
from notify_streams.kafka import KafkaConnection

TOPIC_EXISTS = 36


class ChangelogMismatch(Exception):
    """The changelog has another number of partitions than the table: recreate one of them, rows lie elsewhere now."""

    def __init__(self, topic: str, found: int, wanted: int) -> None:
        super().__init__(f"changelog {topic} has {found} partitions, its table is declared with {wanted}")


async def ensure_changelog(connection: KafkaConnection, topic: str, partitions: int, replication: int) -> None:
    """Create the topic unless it exists.

    Raises:
        ChangelogMismatch: it exists with another number of partitions.
        KafkaError: Kafka refused.
    """
    admin = kafka.admin(connection)
    await admin.start()
    try:
        wanted = NewTopic(topic, partitions, replication, topic_configs={"cleanup.policy": "compact"})
        answer = await admin.create_topics([wanted])
        code, reason = answer.topic_errors[0][1:3]
        if code == TOPIC_EXISTS:
            found = (await admin.describe_topics([topic]))[0]
            if len(found["partitions"]) not in (0, partitions):
                raise ChangelogMismatch(topic, len(found["partitions"]), partitions)
        elif code:
            raise for_code(code)(f"{topic}: {reason}")
    finally:
        await admin.close()
