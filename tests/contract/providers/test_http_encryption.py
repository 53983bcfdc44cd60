"""A request over https:// leaves only to a server with a valid certificate for its host."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from notify_streams.delivery.providers import ProviderConfig
from notify_streams.delivery.providers.http.connection_pool import MAX_OPENING
from notify_streams.delivery.providers.http2.client import Http2Client
from notify_streams.delivery.providers.http_client import HttpClient
from notify_streams.delivery.providers.http_responses import CONNECT_TIMEOUT, NO_CONNECTION, HttpResponse, NoResponse
from tests.contract.providers.scripted_server import OK, Peer, respond_always, serve
from tests.host_certificate import write_host_certificate

THE_OK = HttpResponse(200, None, b"ok")


@asynccontextmanager
async def started(ca_file: Path | None, **but: Any) -> AsyncIterator[HttpClient]:
    client = HttpClient(
        ProviderConfig(
            **{"fcm": "", "twilio": "", "smtp": "", "start_within_s": 10.0, "ca_file": ca_file and str(ca_file), **but}
        )
    )
    await client.start()
    try:
        yield client
    finally:
        await client.close()


def server_context(**but: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for name, value in but.items():
        setattr(context, name, value)
    return context


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
async def test_a_valid_certificate_is_taken(host_certificate: Path, host: str, version: ssl.TLSVersion) -> None:
    context = server_context(minimum_version=version, maximum_version=version)
    async with serve(respond_always, host_certificate, context) as server, started(host_certificate) as client:
        for _ in range(3):
            assert await client.post(f"https://{host}:{server.port}/", {}, b"x" * 100_000) == THE_OK
        assert server.connections == 1


@pytest.mark.parametrize(
    ("host", "known"),
    [
        pytest.param("127.0.0.1", False, id="an unknown authority"),
        pytest.param("127.0.0.2", True, id="another address"),
        pytest.param("other.localhost", True, id="another name"),
    ],
)
async def test_nothing_is_sent_under_another_certificate(
    host_certificate: Path, monkeypatch: pytest.MonkeyPatch, host: str, known: bool
) -> None:
    loop, resolve = asyncio.get_running_loop(), asyncio.get_running_loop().getaddrinfo
    monkeypatch.setattr(loop, "getaddrinfo", lambda _, port, **but: resolve("127.0.0.1", port, **but))
    async with (
        serve(respond_always, host_certificate) as server,
        started(host_certificate if known else None) as client,
    ):
        url = f"https://{host}:{server.port}/"
        assert await client.post(url, {}, b"") == NoResponse("SSLCertVerificationError", begun=False)
        await client.warm_up(url, 2)
        assert server.requests == []


@pytest.mark.parametrize("client", ["http", "http2"])
async def test_new_authorities_are_taken_and_former_ones_are_not(
    host_certificate: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, client: str
) -> None:
    """Without a restart: a firewall's authority is replaced every year."""
    ca_file = write_host_certificate(tmp_path)
    config = ProviderConfig(ca_file=str(ca_file), credential_check_s=0.05, idle_s=0.05, start_within_s=10.0)

    def read() -> list[bytes]:
        return [ca_file.read_bytes(), host_certificate.read_bytes()]

    def replace(content: bytes) -> None:
        (tmp_path / "new").write_bytes(content)
        (tmp_path / "new").rename(ca_file)

    async with serve(respond_always, host_certificate) as server:
        url = f"https://127.0.0.1:{server.port}"
        calls: Any = HttpClient(config) if client == "http" else Http2Client(url, config)
        await calls.start()

        async def refused() -> bool:
            found = await (calls.post(f"{url}/", {}, b"") if client == "http" else calls.post("/", {}, {}, b""))
            return bool(found == NoResponse("SSLCertVerificationError", begun=False))

        try:
            former, other = read()
            assert await refused()
            replace(other)
            while await refused():
                await asyncio.sleep(0.05)
            replace(b"no certificate")
            while not any("providers.ca_file" in str(one.__dict__.get("error")) for one in caplog.records):
                await asyncio.sleep(0.05)
            assert not await refused(), "the former ones are kept"
            replace(former)
            while not await refused():
                await asyncio.sleep(0.1)
        finally:
            await calls.close()


async def test_nothing_is_sent_to_a_server_without_tls(host_certificate: Path) -> None:
    received = []

    async def script(peer: Peer) -> None:
        received.append(await peer.reader.read(65536))
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await peer.end()

    async with serve(script) as server, started(host_certificate) as client:
        result = await client.post(f"https://127.0.0.1:{server.port}/", {"Authorization": "secret"}, b"")
        assert result == NoResponse("SSLError", begun=False)
        assert b"secret" not in received[0]


async def test_a_handshake_that_takes_too_long_is_no_call(host_certificate: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.end()

    async with serve(script) as server, started(host_certificate, start_within_s=0.1, connect_s=0.3) as client:
        url = f"https://127.0.0.1:{server.port}/"
        assert await client.post(url, {}, b"") == NoResponse(NO_CONNECTION, begun=False)
        async with asyncio.timeout(5):
            while server.ended != server.connections:
                await asyncio.sleep(0.001)
        assert await client.post(url, {}, b"") == NoResponse(CONNECT_TIMEOUT, begun=False)


async def test_a_connection_that_is_open_too_late_for_its_call_serves_the_next(host_certificate: Path) -> None:
    """A distant provider is some round trips away, each longer than a check is good for."""
    go_on = asyncio.Event()
    async with serve(respond_always, host_certificate) as server:

        async def forward(peer: Peer) -> None:
            await go_on.wait()
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)

            async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
                while data := await source.read(65536):
                    target.write(data)

            await asyncio.gather(copy(peer.reader, writer), copy(reader, peer.writer))

        async with serve(forward) as distant, started(host_certificate, start_within_s=0.05, connect_s=10.0) as client:
            url = f"https://127.0.0.1:{distant.port}/"
            assert await client.post(url, {}, b"") == NoResponse(NO_CONNECTION, begun=False)
            go_on.set()
            async with asyncio.timeout(5):
                while await client.post(url, {}, b"") == NoResponse(NO_CONNECTION, begun=False):
                    pass
            assert await client.post(url, {}, b"") == THE_OK
            assert distant.connections == 1


async def test_a_burst_of_calls_begins_few_handshakes_at_once(host_certificate: Path) -> None:
    """Each takes both sides 1 ms of CPU: of hundreds none would be in time, and all would be repeated."""

    async def script(peer: Peer) -> None:
        await peer.end()

    async with serve(script) as server, started(host_certificate, start_within_s=0.5, connect_s=0.5) as client:
        calls = [client.post(f"https://127.0.0.1:{server.port}/", {}, b"") for _ in range(4 * MAX_OPENING)]
        results = await asyncio.gather(*calls)
        assert not any(isinstance(one, HttpResponse) or one.begun for one in results)
        assert MAX_OPENING <= server.connections <= 2 * MAX_OPENING


async def test_a_handshake_that_is_cut_is_no_call(host_certificate: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(65536)
        peer.abort()

    async with serve(script) as server, started(host_certificate) as client:
        result = await client.post(f"https://127.0.0.1:{server.port}/", {}, b"")
        assert isinstance(result, NoResponse) and not result.begun
        assert server.connections == 1


async def test_only_http_1_is_offered(host_certificate: Path) -> None:
    context = server_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    chosen = []

    async def script(peer: Peer) -> None:
        chosen.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await peer.respond()

    async with serve(script, host_certificate, context) as server, started(host_certificate) as client:
        assert await client.post(f"https://127.0.0.1:{server.port}/", {}, b"") == THE_OK
    assert chosen == ["http/1.1"]


@pytest.mark.parametrize("announced", [True, False])
async def test_only_the_server_can_end_a_body_without_length(host_certificate: Path, announced: bool) -> None:
    """A third party can close the TCP connection, and so cut such a body."""

    async def script(peer: Peer) -> None:
        await peer.respond(b"HTTP/1.1 200 OK\r\n\r\nok")
        if not announced:
            peer.abort()

    async with serve(script, host_certificate) as server, started(host_certificate) as client:
        result = await client.post(f"https://127.0.0.1:{server.port}/", {}, b"")
        assert result == (THE_OK if announced else NoResponse("ConnectionResetError", begun=True))


async def test_a_record_that_was_changed_is_no_response(host_certificate: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        # Bytes that are no record of the TLS session, and then a response that is good.
        os.write(peer.writer.get_extra_info("socket").fileno(), b"\x17\x03\x03\x00\x20" + b"x" * 32)
        await peer.send(OK)
        await peer.end()

    async with serve(script, host_certificate) as server, started(host_certificate) as client:
        result = await client.post(f"https://127.0.0.1:{server.port}/", {}, b"")
        assert isinstance(result, NoResponse) and result.begun


async def test_a_server_that_closes_after_the_handshake_is_not_called(host_certificate: Path) -> None:
    async def script(peer: Peer) -> None:
        peer.abort()

    context = server_context(maximum_version=ssl.TLSVersion.TLSv1_2)
    async with serve(script, host_certificate, context) as server, started(host_certificate) as client:
        result = await client.post(f"https://127.0.0.1:{server.port}/", {}, b"")
        assert result == NoResponse("ConnectionResetError", begun=False)
        assert server.connections == 1


async def test_the_end_of_a_connection_is_announced(host_certificate: Path) -> None:
    context = server_context()
    context.load_cert_chain(host_certificate)
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF

    def respond(listener: socket.socket) -> bytes:
        """The bytes after the first request; an end that is not announced raises an error."""
        with context.wrap_socket(listener.accept()[0], server_side=True, suppress_ragged_eofs=False) as peer:
            peer.recv(65536)
            peer.sendall(OK)
            return peer.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = asyncio.create_task(asyncio.to_thread(respond, listener))
        async with started(host_certificate) as client:
            assert await client.post(f"https://127.0.0.1:{listener.getsockname()[1]}/", {}, b"") == THE_OK
        assert await server == b""


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_bad_file_of_authorities_is_known_at_the_start(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(OSError):
        async with started(file):
            pass
