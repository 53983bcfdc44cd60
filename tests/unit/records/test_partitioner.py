"""Buckets are Kafka's own: what Java's clients compute."""

import pytest
from aiokafka.partitioner import murmur2 as murmur2_of_aiokafka
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.records.partitioner import bucket_of, murmur2


@pytest.mark.parametrize(
    ("user_id", "murmur2"),
    [("21", -973932308), ("foobar", -790332482), ("a-little-bit-long-string", -985981536)],
)
def test_the_hash_is_that_of_javas_client(user_id: str, murmur2: int) -> None:
    """From UtilsTest.testMurmur2 of Apache Kafka."""
    assert bucket_of(user_id, 1000) == (murmur2 & 0x7FFFFFFF) % 1000


@given(st.binary(max_size=600))
def test_the_hash_is_that_of_aiokafka_for_every_key(key: bytes) -> None:
    assert murmur2(key) == murmur2_of_aiokafka(key) & 0xFFFFFFFF


@given(user_id=st.text(st.characters(codec="utf-8"), min_size=1), partitions=st.integers(1, 4096))
def test_everyone_has_a_bucket(user_id: str, partitions: int) -> None:
    assert 0 <= bucket_of(user_id, partitions) < partitions
