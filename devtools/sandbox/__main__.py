"""`python -m devtools.sandbox`: runs the sandbox until SIGTERM or SIGINT.

Prints one JSON line with its ports once it listens (port 0 picks a free one). Exit status 1 if it cannot start.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import orjson
import uvloop
from aiohttp import web

from devtools.sandbox.http_server import SandboxHttpServer
from devtools.sandbox.intake import MessageIntake
from devtools.sandbox.provider_log import ProviderLogWriter
from devtools.sandbox.seen.links import Links
from devtools.sandbox.seen.views import SeenViews
from devtools.sandbox.smtp_server import mail_protocol
from notify_streams.gc_tuning import tune_gc


async def serve(
    host: str, ports: dict[str, int], links: Links, log: ProviderLogWriter, calls: ProviderLogWriter | None = None
) -> None:
    """Serve on `ports` (http, smtp) until a signal."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    intake = MessageIntake(log, calls)
    mail = await loop.create_server(lambda: mail_protocol(intake), host, ports["smtp"], backlog=1024)
    listening = {"smtp": mail.sockets[0].getsockname()[1]}
    app = SandboxHttpServer(intake, listening).application()
    SeenViews(intake.kept, links).add_to(app)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=300, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, host, ports["http"], backlog=1024)
    await site.start()
    listening["http"] = runner.addresses[0][1]
    tune_gc()
    print(orjson.dumps({"ports": listening}).decode(), flush=True)
    await stop.wait()
    mail.close()
    await runner.cleanup()


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m devtools.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--http-port", type=int, required=True, help="FCM, Twilio, /health, /control and /seen")
    parser.add_argument("--apns-port", type=int, help="reserved: APNs is not implemented")
    parser.add_argument("--smtp-port", type=int, required=True)
    parser.add_argument("--record", type=Path, required=True, help="the provider log; continued if it exists")
    parser.add_argument("--calls", type=Path, help="the call log, if one is wanted; continued if it exists")
    parser.add_argument("--region", help="its `notify-streams why` is shown with a message")
    parser.add_argument("--views", metavar="URL", help="the address of its role `views`, to which a message is linked")
    options = parser.parse_args(arguments)
    ports, links = {"http": options.http_port, "smtp": options.smtp_port}, Links(options.region, options.views)
    try:
        log = ProviderLogWriter(options.record)
        calls = ProviderLogWriter(options.calls) if options.calls else None
        uvloop.run(serve(options.host, ports, links, log, calls))
    except OSError as error:
        print(f"the sandbox cannot start: {error}", file=sys.stderr)
        return 1
    for file in filter(None, (log, calls)):
        file.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
