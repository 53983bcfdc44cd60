"""Which ports the local stack may use."""

import pytest

from devtools.stack.errors import StackFailed
from devtools.stack.ports import allowed_ports, free_port


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_STACK_PORTS": ""}])
def test_unless_told_they_are_outside_the_kernels_range_for_outgoing_connections(environment):
    assert allowed_ports(environment) == range(20_000, 32_000)


def test_a_machine_may_name_others():
    assert allowed_ports({"NOTIFY_STACK_PORTS": "15000-15009"}) == range(15_000, 15_010)


@pytest.mark.parametrize("text", ["x", "1", "1-", "9-8", "0-5", "1-65536", "1-2-3", "-5-9", "1,2", "15000 - 15009"])
def test_what_is_no_range_is_a_sentence(text):
    with pytest.raises(StackFailed, match="it names the first and the last port"):
        allowed_ports({"NOTIFY_STACK_PORTS": text})


def test_ports_in_a_row_are_all_inside(monkeypatch):
    monkeypatch.setenv("NOTIFY_STACK_PORTS", "15000-15009")
    assert {free_port(count=10) for _ in range(5)} == {15_000}
    assert free_port(taken=range(15_000, 15_009)) == 15_009


def test_more_than_there_are_is_refused(monkeypatch):
    monkeypatch.setenv("NOTIFY_STACK_PORTS", "15000-15009")
    with pytest.raises(StackFailed, match="no 11 free port"):
        free_port(count=11)
    with pytest.raises(StackFailed, match="between 15000 and 15009; NOTIFY_STACK_PORTS names others"):
        free_port(taken=range(15_000, 15_010))
