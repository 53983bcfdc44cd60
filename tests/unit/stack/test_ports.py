"""The ports of the local stack."""

import pytest

from devtools.stack.errors import StackFailed
from devtools.stack.ports import allowed_ports, free_port


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_STACK_PORTS": ""}])
def test_the_default_range_is_outside_the_kernels_range_for_outgoing_connections(environment: dict[str, str]) -> None:
    assert allowed_ports(environment) == range(20_000, 32_000)


def test_the_environment_sets_another_range() -> None:
    assert allowed_ports({"NOTIFY_STACK_PORTS": "15000-15009"}) == range(15_000, 15_010)


@pytest.mark.parametrize("text", ["x", "1", "1-", "9-8", "0-5", "1-65536", "1-2-3", "-5-9", "1,2", "15000 - 15009"])
def test_an_invalid_range_is_an_error_that_says_what_is_valid(text: str) -> None:
    with pytest.raises(StackFailed, match="it must be the first and the last port"):
        allowed_ports({"NOTIFY_STACK_PORTS": text})


def test_consecutive_ports_are_all_in_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_STACK_PORTS", "15000-15009")
    assert {free_port(count=10) for _ in range(5)} == {15_000}
    assert free_port(taken=range(15_000, 15_009)) == 15_009


def test_too_few_free_ports_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_STACK_PORTS", "15000-15009")
    with pytest.raises(StackFailed, match="no 11 free port"):
        free_port(count=11)
    with pytest.raises(StackFailed, match="between 15000 and 15009; set NOTIFY_STACK_PORTS"):
        free_port(taken=range(15_000, 15_010))
