"""A package exports what `__all__` names: a submodule of the same name would hide a function."""

import pkgutil
from importlib import import_module
from types import ModuleType

import pytest

import notify_streams

PACKAGES = [found.name for found in pkgutil.walk_packages(notify_streams.__path__, "notify_streams.") if found.ispkg]


@pytest.mark.parametrize("name", PACKAGES)
def test_no_exported_name_is_hidden_by_a_module(name: str) -> None:
    package = import_module(name)
    exported = {other: getattr(package, other) for other in getattr(package, "__all__", ())}
    assert [other for other, value in exported.items() if isinstance(value, ModuleType)] == []
