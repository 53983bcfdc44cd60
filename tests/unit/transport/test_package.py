"""The names that the package `transport` exports."""

from __future__ import annotations

from types import ModuleType

from notify_streams import transport


def test_no_export_is_hidden_by_a_module_of_the_same_name() -> None:
    hidden = [name for name in transport.__all__ if isinstance(getattr(transport, name), ModuleType)]
    assert hidden == []
