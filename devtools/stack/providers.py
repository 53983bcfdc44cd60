"""The provider sandbox as a service: FCM, Twilio and SMTP in one process."""

import sys
from collections.abc import Sequence
from pathlib import Path

from devtools.stack.paths import PROJECT
from devtools.stack.service import Service, responds_ok


class Sandbox(Service):
    scheme = "http://"

    def __init__(self, name: str, folder: Path, http_port: int, apns_port: int, smtp_port: int, views: str) -> None:
        """`views`: the URL of the region's role `views`, to which the page `/seen` links."""
        super().__init__(name, folder, http_port)
        self._apns, self._smtp = apns_port, smtp_port
        self._region, self._views = name.partition("/")[0], views

    @property
    def provider_log(self) -> Path:
        """The file with a line for each accepted message."""
        return self.folder / "accepted.jsonl"

    def urls(self) -> dict[str, str]:
        """The value of the setting `providers`."""
        apns, smtp = f"https://127.0.0.1:{self._apns}", f"smtp://127.0.0.1:{self._smtp}"
        return {"fcm": self.address, "apns": apns, "twilio": self.address, "smtp": smtp}

    def command(self) -> Sequence[str]:
        ports = {"--http-port": self.port, "--apns-port": self._apns, "--smtp-port": self._smtp}
        options = [word for name, port in ports.items() for word in (name, str(port))]
        options += ["--record", str(self.provider_log), "--region", self._region, "--views", self._views]
        return [sys.executable, "-m", "devtools.sandbox", *options]

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(PROJECT)}

    def is_healthy(self) -> bool:
        return responds_ok(f"{self.address}/health")
