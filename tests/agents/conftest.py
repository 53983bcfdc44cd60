"""Imports the agents of a role on an application of its own: `load_agent("registry", "agents.sign_up")`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from devtools.stack.paths import PROJECT
from notify_streams.app import worker_app

LoadAgent = Callable[[str, str], Any]


@pytest.fixture
def load_agent(tmp_path: Path) -> Iterator[LoadAgent]:
    """A process has one application. So each test imports agents and tables anew; the application is never started."""
    before = {name: module for name, module in sys.modules.items() if _is_declaration(name)}
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("NOTIFY_CONFIG_DIR", str(PROJECT / "config"))
        environ.delenv("NOTIFY_STACK_DIR", raising=False)
        environ.setenv("NOTIFY_DATA_DIR", str(tmp_path / "data"))
        # A channel role takes the sandbox's credentials for an address of this machine only.
        environ.setenv("NOTIFY_PROVIDERS__FCM", "http://127.0.0.1:1")
        environ.setenv("NOTIFY_PROVIDERS__TWILIO", "http://127.0.0.1:1")

        def load(role: str, module: str) -> Any:
            environ.setenv("NOTIFY_REGION", "us")
            environ.setenv("NOTIFY_ROLE", role)
            _forget()
            return import_module(module)

        yield load
    _forget()
    sys.modules.update(before)


def _forget() -> None:
    worker_app.cache_clear()
    for name in [*sys.modules]:
        if _is_declaration(name):
            del sys.modules[name]


def _is_declaration(module: str) -> bool:
    return module.partition(".")[0] in ("agents", "tables")
