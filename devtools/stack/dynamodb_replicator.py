"""Replicates DynamoDB Local tables between regions, as Global Tables do on AWS.

`python -m devtools.stack.dynamodb_replicator FOLDER us=http://127.0.0.1:8000 eu=http://127.0.0.1:8001 … [--table users]`

There is a link for each ordered pair of regions. It reads DynamoDB Streams and keeps its position in FOLDER: it continues there
after a restart, and a region that is down delays only its own links. The last writer wins (`registry.user.supersedes`), so the
order of links does not matter. A copied row is marked and not copied again: no loops, and no deleted row comes back.
While FOLDER/paused exists nothing is copied (FOLDER/paused.us: nothing to or from us). SIGUSR1 creates the file, SIGUSR2 removes it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from notify_streams.registry.dynamodb_errors import CONDITION_FAILED, error_code
from notify_streams.registry.user import KEY
from notify_streams.stores import dynamodb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from notify_streams.registry.user import Item

log = logging.getLogger("replicator")
_IDLE_S: Final = 0.1
_RETRY_S: Final = 0.5
_AT_ONCE: Final = 16
#: An attribute of a copied row: its version when it was copied. After a later write in this region it is missing or differs.
_COPIED: Final = "aws:rep:copied"
_NAMES: Final = {"#key": KEY, "#version": "version"}
_NEWER: Final = (
    "attribute_not_exists(#key) OR #version < :version"
    " OR (#version = :version AND (#at < :at OR (#at = :at AND #region < :region)))"
)


def _mark(item: Item) -> dict[str, str]:
    return {"S": " ".join(str(*item[name].values()) for name in ("version", "updated_at", "region"))}


class Position(msgspec.Struct):
    """For each shard of the stream the last sequence number that is applied at the target."""

    stream: str = ""
    shards: dict[str, str] = {}
    applied: int = 0


class Link:
    """Copies the writes of one region to one other region."""

    def __init__(self, source: str, target: str, urls: Mapping[str, str], table: str, folder: Path) -> None:
        self.name = f"{source}-{target}"
        self._urls = urls[source], urls[target]
        self._table = table
        self._file = folder / f"{self.name}.json"
        self._pauses = [folder / "paused", folder / f"paused.{source}", folder / f"paused.{target}"]
        self._position = Position()
        self._iterators: dict[str, str] = {}
        self._source: Any = None
        self._streams: Any = None
        self._target: Any = None

    async def run(self) -> None:
        """Copy until cancelled. After an error, continue from the last position."""
        while True:
            try:
                async with AsyncExitStack() as closing:
                    await self._open(closing)
                    await self._follow()
            except (ClientError, BotoCoreError, OSError, TimeoutError) as error:
                log.info("%s: %s, will be retried", self.name, type(error).__name__)
                await asyncio.sleep(_RETRY_S)

    async def _open(self, closing: AsyncExitStack) -> None:
        source, target = self._urls
        self._source = await closing.enter_async_context(dynamodb.client(source))
        self._streams = await closing.enter_async_context(dynamodb.client(source, "dynamodbstreams"))
        self._target = await closing.enter_async_context(dynamodb.client(target))
        if self._file.exists():
            self._position = msgspec.json.decode(self._file.read_bytes(), type=Position)
        self._iterators = {}

    async def _follow(self) -> None:
        while True:
            if any(pause.exists() for pause in self._pauses):
                await asyncio.sleep(_IDLE_S)
                continue
            await self._find_shards()
            found = [await self._read(shard) for shard in list(self._iterators)]
            if not any(found):
                await asyncio.sleep(_IDLE_S)

    async def _find_shards(self) -> None:
        """Open new shards. If the stream is new, or has dropped records before our position, copy the whole table first."""
        if self._iterators:
            return
        description = await self._source.describe_table(TableName=self._table)
        stream = description["Table"]["LatestStreamArn"]
        shards = (await self._streams.describe_stream(StreamArn=stream))["StreamDescription"]["Shards"]
        try:
            self._iterators = {one["ShardId"]: await self._iterator(stream, one["ShardId"]) for one in shards}
        except ClientError as error:
            if error_code(error) not in (
                "TrimmedDataAccessException",
                "ResourceNotFoundException",
                "ValidationException",
            ):
                raise
            self._position = Position(applied=self._position.applied)
        if self._position.stream != stream:
            self._position = Position(stream, applied=self._position.applied)
            self._iterators = {one["ShardId"]: await self._iterator(stream, one["ShardId"]) for one in shards}
            await self._copy_all()
            self._save()
        if not self._iterators:
            await asyncio.sleep(_IDLE_S)

    async def _iterator(self, stream: str, shard: str) -> str:
        at = self._position.shards.get(shard) if self._position.stream == stream else None
        kind = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": at} if at else None
        kind = kind or {"ShardIteratorType": "TRIM_HORIZON"}
        response = await self._streams.get_shard_iterator(StreamArn=stream, ShardId=shard, **kind)
        return str(response["ShardIterator"])

    async def _read(self, shard: str) -> bool:
        try:
            response = await self._streams.get_records(ShardIterator=self._iterators[shard], Limit=1000)
        except ClientError as error:
            if error_code(error) not in ("ExpiredIteratorException", "TrimmedDataAccessException"):
                raise
            self._iterators = {}
            return False
        records = response.get("Records", ())
        if records:
            await self._apply([record["dynamodb"] for record in records])
            self._position.shards[shard] = records[-1]["dynamodb"]["SequenceNumber"]
            self._save()
        if response.get("NextShardIterator"):
            self._iterators[shard] = response["NextShardIterator"]
        else:
            del self._iterators[shard]  # Closed. After the last one the child shards are opened.
        return bool(records)

    async def _apply(self, changes: Sequence[Mapping[str, Any]]) -> None:
        """Apply the last change of each key; the target would refuse an older one anyway."""
        last = {change["Keys"][KEY]["S"]: change for change in changes}
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def apply(change: Mapping[str, Any]) -> None:
            async with at_once:
                if "NewImage" not in change:
                    await self._delete(change["OldImage"])
                elif change["NewImage"].get(_COPIED) != _mark(change["NewImage"]):
                    await self._put(change["NewImage"])

        await asyncio.gather(*map(apply, last.values()))

    async def _put(self, item: Item) -> None:
        values = {":version": item["version"], ":at": item["updated_at"], ":region": item["region"]}
        names = {**_NAMES, "#at": "updated_at", "#region": "region"}
        await self._ignore_if_older(
            self._target.put_item(
                TableName=self._table,
                Item={**item, _COPIED: _mark(item)},
                ConditionExpression=_NEWER,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            )
        )

    async def _delete(self, item: Item) -> None:
        await self._ignore_if_older(
            self._target.delete_item(
                TableName=self._table,
                Key={KEY: item[KEY]},
                ConditionExpression="attribute_exists(#key) AND #version <= :version",
                ExpressionAttributeNames=_NAMES,
                ExpressionAttributeValues={":version": item["version"]},
            )
        )

    async def _ignore_if_older(self, write: Any) -> None:
        try:
            await write
        except ClientError as error:
            if error_code(error) != CONDITION_FAILED:
                raise
        else:
            self._position.applied += 1

    async def _copy_all(self) -> None:
        async for page in self._source.get_paginator("scan").paginate(TableName=self._table):
            await self._apply([{"Keys": {KEY: item[KEY]}, "NewImage": item} for item in page["Items"]])

    def _save(self) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(self._position))
        fresh.rename(self._file)


async def replicate(urls: Mapping[str, str], folder: Path, table: str = "users") -> None:
    """Run every link until cancelled; `folder` exists."""
    pairs = itertools.permutations(urls, 2)
    await asyncio.gather(*(Link(source, target, urls, table, folder).run() for source, target in pairs))


async def _run_until_stopped(urls: Mapping[str, str], folder: Path, table: str) -> None:
    paused = folder / "paused"
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, paused.touch)
    loop.add_signal_handler(signal.SIGUSR2, lambda: paused.unlink(missing_ok=True))
    running = asyncio.create_task(replicate(urls, folder, table))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    print("replicating", *urls, flush=True)
    await asyncio.gather(running, return_exceptions=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="replicator", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("regions", nargs="+", metavar="REGION=URL")
    parser.add_argument("--table", default="users")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    logging.getLogger("aiobotocore").setLevel(logging.WARNING)
    urls = dict(region.split("=", 1) for region in options.regions)
    asyncio.run(_run_until_stopped(urls, options.folder, options.table))


if __name__ == "__main__":
    main()
