"""The provider sandbox as a service: FCM, APNs, Twilio and SMTP in one process. In: three ports; out: URLs and the record.

What the providers accepted is in `record`, a line a message; this file refuses to know the lines.
"""

import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from devtools.stack.paths import PROJECT
from devtools.stack.service import Service

_MODULE = "devtools.sandbox"


class Sandbox(Service):
    def __init__(self, name: str, folder: Path, http_port: int, apns_port: int, smtp_port: int) -> None:
        super().__init__(name, folder)
        self._http, self._apns, self._smtp = http_port, apns_port, smtp_port

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._http}"

    @property
    def record(self) -> Path:
        """The file to which every accepted message is appended."""
        return self.folder / "accepted.jsonl"

    def urls(self) -> dict[str, str]:
        """The settings' `providers`."""
        apns, smtp = f"https://127.0.0.1:{self._apns}", f"smtp://127.0.0.1:{self._smtp}"
        return {"fcm": self.address, "apns": apns, "twilio": self.address, "smtp": smtp}

    def command(self) -> Sequence[str]:
        ports = {"--http-port": self._http, "--apns-port": self._apns, "--smtp-port": self._smtp}
        options = [word for name, port in ports.items() for word in (name, str(port))]
        return [sys.executable, "-m", _MODULE, *options, "--record", str(self.record)]

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(PROJECT)}

    def answers(self) -> bool:
        return answers(self.address)


def answers(url: str) -> bool:
    """Whether its `/health` says 200."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
