"""How far roles are behind: workers say it while no ledger can be read; nothing does while Kafka is away."""

from __future__ import annotations

from aiokafka import TopicPartition

from notify_streams.web.verdict.collector import summary_lag
from notify_streams.web.verdict.service_probes import ServiceProbes
from tests.unit.web.conftest import NewWorker
from tests.unit.web.sample_region import a_summary, a_worker


def test_without_ledgers_the_lag_is_what_the_workers_tell() -> None:
    workers = [
        a_worker("critical", summary=a_summary("critical", lag=320)),
        a_worker("push", summary=a_summary("push", lag=7)),
        a_worker("push", summary=a_summary("push", lag=5)),
        a_worker("registry", summary=a_summary("registry", lag=0)),
        a_worker("email", state="gone", summary=None),
        a_worker("sms", summary=a_summary("sms", lag=None)),
    ]
    assert summary_lag(workers) == {"critical": 320, "push": 12, "registry": 0}
    assert summary_lag(workers, ("registry",)) == {"registry": 0}


async def test_ends_of_partitions_are_forgotten_when_kafka_does_not_answer(new_worker: NewWorker) -> None:
    """What was read before would say that nothing is behind."""
    probes = ServiceProbes(new_worker())
    probes.ends = {TopicPartition("push", 0): 5}
    await probes.ask()
    await probes.close()
    assert probes.ends == {}
