"""A worker process that writes every batch to a log file before it acknowledges it.

Arguments, as one JSON object: bootstrap, group, topic, log, datadir, delay_s, table (the topic of a table that it writes and reads, or null),
instance (a static member's name, or null).
"""

import asyncio
import json
import logging
import os
import sys
from typing import Any

import faust

from notify_streams.transport import PartitionedTable, TransportSettings, attach, batched_topic, producer_of, ready

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
options = json.loads(sys.argv[1])
app = faust.App(
    options["group"],
    broker=f"batched://{options['bootstrap']}",
    datadir=options["datadir"],
    web_enabled=False,
    topic_disable_leader=True,
)
attach(
    app,
    TransportSettings(
        group_instance_id=options["instance"],
        session_timeout_s=30.0 if options["instance"] else 1.5,
        heartbeat_s=0.4,
        commit_interval_s=0.2,
        drain_timeout_s=1.0,
        max_batch_records=200,
    ),
)
if options["table"]:
    PartitionedTable(app, options["table"])
log = os.open(options["log"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)


def write_log(kind: str, *fields: object) -> None:
    os.write(log, (" ".join(map(str, (kind, os.getpid(), *fields))) + "\n").encode())


@app.agent(batched_topic(app, options["topic"]))
async def process(stream: Any) -> None:
    async for event in stream.noack().events():
        batch = event.value
        await asyncio.sleep(options["delay_s"])
        if options["table"]:
            rows = [(record.value, b"1", ()) for record in batch.records]
            await producer_of(app).send_batch(options["table"], batch.partition, rows)
        write_log(
            "batch", batch.partition, batch.start, batch.end, *(record.value.decode() for record in batch.records)
        )
        event.ack()


async def main() -> None:
    app.finalize()
    await app.start()
    while not ready(app):
        await asyncio.sleep(0.02)
    write_log("ready")
    await asyncio.get_running_loop().create_future()


async def run() -> None:
    loop, worker = asyncio.get_running_loop(), asyncio.ensure_future(main())
    loop.add_signal_handler(15, worker.cancel)
    try:
        await worker
    except asyncio.CancelledError:
        await app.stop()
        write_log("stopped")


asyncio.run(run())
os._exit(0)
