"""The provider sandbox as a service: one process for all providers."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from devtools.sandbox.keys import client_settings, open_keys
from devtools.sandbox.web_push import Browser, endpoint
from devtools.stack.paths import PROJECT
from devtools.stack.service import Service, responds_ok


class Sandbox(Service):
    scheme = "http://"

    def __init__(self, name: str, folder: Path, ports: Mapping[str, int], views: str) -> None:
        """`ports`: http, apns, web_push, smtp. `views`: the URL of the region's role `views`, to which the page `/seen` links."""
        super().__init__(name, folder, ports["http"])
        self._ports = ports
        self._region, self._views = name.partition("/")[0], views

    @property
    def provider_log(self) -> Path:
        """The file with a line for each accepted message."""
        return self.folder / "accepted.jsonl"

    def urls(self) -> dict[str, str]:
        """The addresses of the providers."""
        return {"fcm": self.address, "twilio": self.address, "smtp": f"smtp://127.0.0.1:{self._ports['smtp']}"}

    def settings(self) -> dict[str, Any]:
        """The value of the setting `providers`."""
        return {**self.urls(), **client_settings(self.folder / "keys", self._ports["apns"])}

    def subscriptions(self) -> Callable[[str], str]:
        """A function that gives the Web Push subscription of a name, as the sandbox does; once it has been started."""
        browser = Browser(open_keys(self.folder / "keys").browser)
        return lambda name: browser.subscription(endpoint(self._ports["web_push"], name))

    def command(self) -> Sequence[str]:
        options = [
            word for name, port in self._ports.items() for word in (f"--{name.replace('_', '-')}-port", str(port))
        ]
        options += ["--record", str(self.provider_log), "--region", self._region, "--views", self._views]
        return [sys.executable, "-m", "devtools.sandbox", *options]

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(PROJECT)}

    def is_healthy(self) -> bool:
        return responds_ok(f"{self.address}/health")
