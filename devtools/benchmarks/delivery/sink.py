"""nginx as a provider over TLS that accepts every message.

It responds like FCM. Its access log has each request with its body, because FCM's messages have their delivery id there.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import urllib.request
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from devtools.benchmarks.delivery.access_log import FORMAT, Acceptance, read_log
from devtools.stack.errors import StackFailed
from devtools.stack.nginx import nginx_program
from devtools.stack.ports import free_port
from devtools.stack.process import wait_for
from devtools.stack.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

#: One process, so that its CPU is that of one pid. A location that returns a response discards the request's body. `mirror` reads it; then
#: there is no such file, and the error page is the response.
_CONFIGURATION: Final = """
{user}daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    log_format acceptance escape=json '{format}';
    access_log off;
    client_body_temp_path {folder}/incoming;
    proxy_temp_path {folder}/unused;
    fastcgi_temp_path {folder}/unused;
    uwsgi_temp_path {folder}/unused;
    scgi_temp_path {folder}/unused;
    client_body_buffer_size 16k;
    client_max_body_size 16k;
    client_body_in_single_buffer on;
    keepalive_timeout 300s;
    keepalive_requests 100000000;
    log_not_found off;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/server.pem;
        ssl_certificate_key {folder}/server.pem;
        root {folder}/empty;
        location = /status {{ stub_status; }}
        location = /body {{ internal; return 204; }}
        location / {{
            mirror /body;
            error_page 404 405 =200 @accepted;
        }}
        location @accepted {{
            access_log {log} acceptance;
            default_type application/json;
            return 200 '{{"name": "projects/p/messages/1"}}';
        }}
    }}
}}
"""
_HOST: Final = "127.0.0.1"
_MEMORY: Final = Path("/dev/shm")
_TIMEOUT_S: Final = 5.0


class Sink(Service):
    """Answers every POST with 200. One benchmark at a time reads its log."""

    scheme = "https://"

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__("sink", folder, port)
        #: The authority that signed its certificate (PEM).
        self.ca_file = folder / "ca.pem"
        #: In memory where there is such a file system: a disk that is busy with the databases would hold up the answers.
        self._log = (_MEMORY / f"notify-sink-{port}.log") if _MEMORY.is_dir() else folder / "access.log"

    @property
    def url(self) -> str:
        """Where messages are sent to."""
        return f"{self.address}/v1/projects/notify-streams/messages:send"

    def prepare(self) -> None:
        """Create certificates and the configuration.

        Raises:
            StackFailed: nginx or OpenSSL is not installed.
        """
        if nginx_program() is None:
            raise StackFailed("this benchmark needs nginx: apt-get install nginx-light")
        self._log.unlink(missing_ok=True)
        write_certificates(self.folder)
        # Started by root, nginx would run as an unprivileged user, which may not write here.
        user = "user root;\n" if os.geteuid() == 0 else ""
        (self.folder / "nginx.conf").write_text(
            _CONFIGURATION.format(folder=self.folder, port=self.port, user=user, format=FORMAT, log=self._log)
        )

    def command(self) -> Sequence[str]:
        nginx = nginx_program() or "nginx"
        return [nginx, "-p", str(self.folder), "-e", "stderr", "-c", str(self.folder / "nginx.conf")]

    def is_healthy(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        try:
            with (
                socket.create_connection((_HOST, self.port), timeout=_TIMEOUT_S) as plain,
                context.wrap_socket(plain, server_hostname=_HOST),
            ):
                return True
        except OSError:
            return False

    @property
    def log_bytes(self) -> int:
        """The size of the log, which grows with each acceptance."""
        return self._log.stat().st_size

    def connections(self) -> int:
        """Connections that clients have opened since its start; each call opens one."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        with urllib.request.urlopen(f"{self.address}/status", timeout=_TIMEOUT_S, context=context) as response:
            return connections_in(response.read().decode())

    def forget(self) -> None:
        """Remove the log."""
        self._log.unlink(missing_ok=True)

    def take(self, wanted: int) -> list[Acceptance]:
        """What was accepted since the last call; the log is emptied. Call it while no sender runs.

        Waits up to 5 s for `wanted` acceptances: nginx writes a line after its response was sent.

        Raises:
            NotifyError: see `read_log`.
        """
        wait_for(lambda: self._log.read_bytes().count(b"\n") >= wanted, _TIMEOUT_S)
        lines = self._log.read_bytes().splitlines()
        os.truncate(self._log, 0)
        return read_log(lines)


def connections_in(status: str) -> int:
    """The first of the three numbers `accepts handled requests` in nginx's status."""
    return int(status.splitlines()[2].split()[0])


def write_certificates(folder: Path) -> None:
    """`ca.pem`, and `server.pem` for 127.0.0.1 with its key, valid for a day.

    Raises:
        StackFailed: there is no OpenSSL.
    """
    _openssl(folder, "ca", "/CN=benchmark")
    _openssl(
        folder,
        "server",
        f"/CN={_HOST}",
        *("-CA", "ca.pem", "-CAkey", "ca.pem", "-addext", f"subjectAltName=IP:{_HOST}"),
    )


def _openssl(folder: Path, name: str, subject: str, *options: str) -> None:
    """Write `<name>.pem` with certificate and key."""
    file = folder / f"{name}.pem"
    key = "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"
    made = ["openssl", "req", "-x509", *key, "-days", "1", "-subj", subject, *options]
    try:
        found = subprocess.run([*made, "-keyout", "-", "-out", "-"], cwd=folder, check=True, capture_output=True)
    except FileNotFoundError:
        raise StackFailed("this benchmark needs openssl") from None
    except subprocess.CalledProcessError as error:
        raise StackFailed(f"openssl made no certificate: {error.stderr.decode(errors='replace')}") from None
    file.write_bytes(found.stdout)
    file.chmod(0o600)


@asynccontextmanager
async def running_sink(folder: Path) -> AsyncIterator[Sink]:
    """A sink in `folder`; stopped when the block ends."""
    sink = Sink(folder, free_port())
    try:
        # One that a killed benchmark left has another port.
        await asyncio.to_thread(sink.stop)
        await asyncio.to_thread(sink.start)
        yield sink
    finally:
        await asyncio.to_thread(sink.stop)
        sink.forget()
