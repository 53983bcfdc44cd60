"""Reports of dead addresses: published at once, repeated while Kafka does not answer, bounded."""

from functools import partial

from notify_streams import metrics
from notify_streams.delivery import dead_addresses
from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.records.user_records import Contacts, read_contacts
from tests.agents.agent_fakes import FakeProducer
from tests.builders import a_message
from tests.waiting import until

AT_MS = 1_795_000_000_000


def reports(result: str) -> float:
    labels = {"channel": "push", "result": result}
    return metrics.REGISTRY.get_sample_value("notify_dead_addresses_total", labels) or 0


async def test_a_report_removes_the_address_as_of_the_call() -> None:
    producer = FakeProducer(failures=1)
    reporter = dead_addresses.DeadAddresses(partial(publish_directly, producer))
    await reporter.start()
    reporter.add(3, a_message(user_id="u"), "gone", AT_MS)
    await until(lambda: bool(producer.published), "it is published")
    await reporter.stop()
    ((topic, partition, (key, value, _)),) = producer.published
    assert (topic, partition, key) == ("user_contacts", 3, b"u")
    record = read_contacts(value, AT_MS + 1)
    assert isinstance(record, Contacts)
    assert record.remove == {"push": "gone"} and record.updated_at.timestamp() * 1000 == AT_MS


async def test_reports_beyond_the_limit_are_counted_and_left_to_the_next_message() -> None:
    reporter = dead_addresses.DeadAddresses(partial(publish_directly, FakeProducer()))
    reported, before = reports("reported"), reports("not_reported")
    for _ in range(10_001):
        reporter.add(0, a_message(), "gone", AT_MS)
    assert (reports("reported") - reported, reports("not_reported") - before) == (10_000, 1)
