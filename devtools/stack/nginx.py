"""A point of presence as a service: nginx, if the machine has it.

`edge.conf.template` says how it handles a request.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import NamedTuple

from devtools.private_file import write_private
from devtools.stack.service import Service, responds_ok

# Names are relative to nginx's prefix (`-p`), because the folder of a checkout may have a space.
_CONFIGURATION = """
{user}daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path incoming;
    proxy_temp_path proxied;
    fastcgi_temp_path unused;
    uwsgi_temp_path unused;
    scgi_temp_path unused;
    include edge.conf;
}}
"""
TEMPLATE = Path(__file__).with_name("edge.conf.template")


class EdgeTokens(NamedTuple):
    """Bearer tokens: of those who write keys, of those who read them, and of nginx at the origin."""

    push: str
    read: str
    origin: str


class Edge(Service):
    """Pushed keys are files under `keys/`; they survive a restart."""

    scheme = "http://"

    def __init__(self, name: str, folder: Path, port: int, tokens: EdgeTokens, origin: str) -> None:
        """`origin`: `host:port` of the region's web views, which nginx asks for keys that were not pushed."""
        super().__init__(name, folder, port)
        self._values = {
            "EDGE_LISTEN": f"127.0.0.1:{port}",
            "EDGE_ROOT": "keys",
            "EDGE_CACHE": "cache",
            "EDGE_TOKEN": tokens.push,
            "EDGE_READ_TOKEN": tokens.read,
            "EDGE_ORIGIN": origin,
            "EDGE_ORIGIN_TOKEN": tokens.origin,
        }

    @property
    def url(self) -> str:
        """The URL for reads and pushes is `<url>/<key>`."""
        return f"{self.address}/locations"

    def prepare(self) -> None:
        (self.folder / "keys" / "locations").mkdir(parents=True, exist_ok=True)
        write_private(self.folder / "edge.conf", Template(TEMPLATE.read_text()).safe_substitute(self._values))
        # Started by root, nginx runs its workers as an unprivileged user, which may not write here.
        user = "user root;\n" if os.geteuid() == 0 else ""
        (self.folder / "nginx.conf").write_text(_CONFIGURATION.format(user=user))

    def command(self) -> Sequence[str]:
        nginx = nginx_program() or "nginx"
        return [nginx, "-p", str(self.folder), "-e", "stderr", "-c", str(self.folder / "nginx.conf")]

    def is_healthy(self) -> bool:
        return responds_ok(f"{self.address}/health")


def nginx_program() -> str | None:
    """The path of the system's nginx, if it is installed; there is no Python package of it."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
