"""What commands name by themselves, because its modules take long to import, is what these modules say."""

from __future__ import annotations

from devtools.benchmarks.commands import TRANSPORT_KINDS, TRANSPORT_PARTITIONS, TRANSPORT_ROUNDS
from devtools.benchmarks.transport.runner import Sizes
from devtools.benchmarks.transport.topics import DEFAULT_PARTITIONS


def test_the_defaults_of_transport_are_those_of_its_modules() -> None:
    assert (Sizes().rounds, DEFAULT_PARTITIONS) == (TRANSPORT_ROUNDS, TRANSPORT_PARTITIONS)


def test_transport_measures_only_what_has_a_size() -> None:
    assert all(hasattr(Sizes(), kind) for kind in TRANSPORT_KINDS)
