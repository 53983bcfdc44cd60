"""`python -m devtools.sandbox`: runs the sandbox until SIGTERM or SIGINT.

Prints one JSON line with its ports once it listens (port 0 picks a free one). Exit status 1 if it cannot start.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import ssl
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
import uvloop
from aiohttp import web

from devtools.sandbox.apns_server import ApnsServer
from devtools.sandbox.http2_server import tls_of
from devtools.sandbox.http_server import SandboxHttpServer
from devtools.sandbox.intake import MessageIntake
from devtools.sandbox.keys import SandboxKeys, open_keys
from devtools.sandbox.provider_log import ProviderLogWriter
from devtools.sandbox.seen.links import Links
from devtools.sandbox.seen.views import SeenViews
from devtools.sandbox.smtp_server import mail_protocol
from notify_streams.gc_tuning import tune_gc


async def serve(
    host: str,
    ports: dict[str, int],
    links: Links,
    keys: SandboxKeys,
    log: ProviderLogWriter,
    calls: ProviderLogWriter | None = None,
    *,
    any_client: bool = False,
) -> None:
    """Serve on `ports` (http, smtp, apns, web_push) until a signal. `any_client`: see `SeenViews`."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    intake = MessageIntake(log, calls)
    mail = await loop.create_server(lambda: mail_protocol(intake), host, ports["smtp"], backlog=1024)
    apns = ApnsServer(intake, keys)
    listening = {"smtp": mail.sockets[0].getsockname()[1], "apns": await apns.start(host, ports["apns"])}
    server = SandboxHttpServer(intake, listening, keys)
    app = server.application()
    SeenViews(intake.kept, links, any_client=any_client).add_to(app)
    async with AsyncExitStack() as closing:
        tls = tls_of(keys.server, "http/1.1")
        listening["web_push"] = await _listen(closing, server.push_service(), host, ports["web_push"], tls)
        listening["http"] = await _listen(closing, app, host, ports["http"])
        tune_gc()
        print(orjson.dumps({"ports": listening}).decode(), flush=True)
        await stop.wait()
        mail.close()
        apns.close()


async def _listen(
    closing: AsyncExitStack, app: web.Application, host: str, port: int, tls: ssl.SSLContext | None = None
) -> int:
    """Serve `app` until `closing` ends; returns the port."""
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=300, shutdown_timeout=1)
    closing.push_async_callback(runner.cleanup)
    await runner.setup()
    await web.TCPSite(runner, host, port, backlog=1024, ssl_context=tls).start()
    return int(runner.addresses[0][1])


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m devtools.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--http-port", type=int, default=0, help="FCM, Twilio, /health, /control, /subscriptions and /seen"
    )
    parser.add_argument("--apns-port", type=int, default=0)
    parser.add_argument("--web-push-port", type=int, default=0)
    parser.add_argument("--smtp-port", type=int, default=0)
    parser.add_argument(
        "--record",
        type=Path,
        required=True,
        help="the provider log; continued if it exists. The folder `keys` is beside it",
    )
    parser.add_argument("--calls", type=Path, help="the call log, if one is wanted; continued if it exists")
    parser.add_argument("--region", help="its `notify-streams why` is shown with a message")
    parser.add_argument("--views", metavar="URL", help="the address of its role `views`, to which a message is linked")
    parser.add_argument(
        "--any-client",
        action="store_true",
        help="show /seen to clients of every address: where a container's port is published on the loopback only",
    )
    options = parser.parse_args(arguments)
    ports = {name: getattr(options, f"{name}_port") for name in ("http", "smtp", "apns", "web_push")}
    links = Links(options.region, options.views)
    try:
        keys = open_keys(options.record.with_name("keys"))
        log = ProviderLogWriter(options.record)
        calls = ProviderLogWriter(options.calls) if options.calls else None
        uvloop.run(serve(options.host, ports, links, keys, log, calls, any_client=options.any_client))
    except OSError as error:
        print(f"the sandbox cannot start: {error}", file=sys.stderr)
        return 1
    for file in filter(None, (log, calls)):
        file.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
