"""Creates a table's changelog: a compacted topic with the table's partitions."""

from __future__ import annotations

from aiokafka.admin import NewTopic
from aiokafka.errors import for_code

from notify_streams import kafka
from notify_streams.kafka import KafkaConnection

_TOPIC_EXISTS = 36


class ChangelogMismatch(Exception):
    """The changelog has another number of partitions than the table, so keys map to other partitions: recreate one of the two."""

    def __init__(self, topic: str, found: int, wanted: int) -> None:
        super().__init__(f"changelog {topic} has {found} partitions, its table is declared with {wanted}")


async def ensure_changelog(connection: KafkaConnection, topic: str, partitions: int, replication: int) -> None:
    """Create the topic unless it exists.

    Raises:
        ChangelogMismatch: it exists with another number of partitions.
        KafkaError: Kafka did not create it.
    """
    admin = kafka.admin(connection)
    await admin.start()
    try:
        wanted = NewTopic(topic, partitions, replication, topic_configs={"cleanup.policy": "compact"})
        response = await admin.create_topics([wanted])
        code, reason = response.topic_errors[0][1:3]
        if code == _TOPIC_EXISTS:
            found = (await admin.describe_topics([topic]))[0]
            if len(found["partitions"]) not in (0, partitions):
                raise ChangelogMismatch(topic, len(found["partitions"]), partitions)
        elif code:
            raise for_code(code)(f"{topic}: {reason}")
    finally:
        await admin.close()
