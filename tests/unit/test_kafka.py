"""The Kafka client factories: their options, and that nothing else constructs a client."""

import re
from pathlib import Path

import pytest

from notify_streams import kafka
from notify_streams.kafka import KafkaConnection

PROJECT = Path(__file__).parents[2]
#: The benchmarks' baselines measure a plain client; the local stack's health checks come before any settings.
EXEMPT = re.compile(r"devtools/(benchmarks/.*(baseline|transport/(cases|latency))|chaos/fuzz/records|stack/)")
CONSTRUCTS = re.compile(r"AIOKafka(Consumer|Producer|AdminClient)(\(|\):)")
FAR = KafkaConnection("a:1,b:2", {"security_protocol": "SASL_PLAINTEXT", "sasl_plain_password": "hidden"})


def test_a_connection_does_not_show_its_credentials() -> None:
    assert repr(FAR) == "KafkaConnection(servers='a:1,b:2')"


@pytest.mark.parametrize("create", [kafka.consumer, kafka.producer, kafka.admin])
async def test_every_client_gets_the_security_options(create: object) -> None:
    assert callable(create)
    with pytest.raises(ValueError, match="sasl_plain_username"):  # the user name that goes with the password is missing
        create(FAR)


def test_only_the_factories_construct_clients() -> None:
    found = {
        str(file.relative_to(PROJECT))
        for package in ("notify_streams", "agents", "tables", "devtools")
        for file in (PROJECT / package).rglob("*.py")
        if CONSTRUCTS.search(file.read_text())
    }
    assert {file for file in found if not EXEMPT.match(file)} == {"notify_streams/kafka.py"}
