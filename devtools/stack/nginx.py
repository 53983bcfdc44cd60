"""One point of presence as a service: nginx where the machine has it. In: a port, tokens, an origin; out: a URL to push to.

What it does with a request is in `edge.conf.template`; this file refuses to know it.
"""

import os
import shutil
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from string import Template

from devtools.stack.service import Service

_CONFIGURATION = """
{user}daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/incoming;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/unused;
    uwsgi_temp_path {folder}/unused;
    scgi_temp_path {folder}/unused;
    include {folder}/edge.conf;
}}
"""
TEMPLATE = Path(__file__).with_name("edge.conf.template")


class Edge(Service):
    """Pushed keys are files under `keys/`; they survive a restart."""

    def __init__(self, name: str, folder: Path, port: int, token: str, origin: str, origin_token: str) -> None:
        """`origin`: `host:port` of the region's web view that answers for a key that was not pushed."""
        super().__init__(name, folder)
        self._port = port
        self._values = {
            "EDGE_LISTEN": f"127.0.0.1:{port}",
            "EDGE_ROOT": str(folder / "keys"),
            "EDGE_CACHE": str(folder / "cache"),
            "EDGE_TOKEN": token,
            "EDGE_ORIGIN": origin,
            "EDGE_ORIGIN_TOKEN": origin_token,
        }

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """Where keys are put and read: `<url>/<key>`."""
        return f"{self.address}/locations"

    def prepare(self) -> None:
        (self.folder / "keys" / "locations").mkdir(parents=True, exist_ok=True)
        (self.folder / "edge.conf").write_text(Template(TEMPLATE.read_text()).safe_substitute(self._values))
        # Started by root, nginx would give its workers to `nobody`, who may not write here.
        user = "user root;\n" if os.geteuid() == 0 else ""
        (self.folder / "nginx.conf").write_text(_CONFIGURATION.format(folder=self.folder, user=user))

    def command(self) -> Sequence[str]:
        return [program() or "nginx", "-p", str(self.folder), "-e", "stderr", "-c", str(self.folder / "nginx.conf")]

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False


def program() -> str | None:
    """The system's nginx, if there is one; it is not to be had as a package of Python's."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
