"""A mongos as far as a driver and `shards init` can tell, before one real shard: no package of a mongos is to be had.

It says of itself what a mongos says, does what concerns sharding itself, as MongoDB 6.0 does (`cluster_split_cmd.cpp`: a split where a
chunk begins already fails without a code), notes it, and hands everything else on.
"""

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import bson
from bson import Binary, MinKey

from tests.integration.outbox.outbox_fixtures import Between

Document = dict[str, Any]

_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013
_HEAD = struct.Struct("<iiii")
#: Of a replica set's member's own; a mongos has none of it.
_OF_A_MEMBER = (
    "setName",
    "setVersion",
    "hosts",
    "primary",
    "me",
    "electionId",
    "lastWrite",
    "secondary",
    "topologyVersion",
)


class FakeMongos(Between):
    """``async with FakeMongos(uri) as mongos``: then a client of `mongos.uri`."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        #: namespace -> its key, and where its chunks begin beside the first.
        self.sharded: dict[str, tuple[Document, list[Document]]] = {}
        self.databases: set[str] = set()
        self.splits = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        up_reader, up_writer = await asyncio.open_connection(*self._to)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                asked = await _message(reader)
                answer = self._own_answer(asked)
                if answer is None:
                    up_writer.write(asked)
                    answer = _as_a_mongos(await _message(up_reader))
                writer.write(answer)
        for one in (writer, up_writer):
            one.close()
        self._tasks.discard(task)

    def _own_answer(self, asked: bytes) -> bytes | None:
        _, number, _, operation = _HEAD.unpack_from(asked)
        if operation != _OP_MSG or asked[20] != 0:
            return None
        command = bson.decode(asked[21 : 21 + struct.unpack_from("<i", asked, 21)[0]])
        own: dict[str, Callable[[Document], Document]] = {
            "enableSharding": self._enable,
            "shardCollection": self._shard,
            "split": self._split,
        }
        name = next(iter(command))
        if command["$db"] == "config" and name == "find":
            answer = self._config(command)
        elif command["$db"] == "admin" and name in own:
            answer = own[name](command)
        else:
            return None
        body = b"\0\0\0\0\0" + bson.encode(answer)
        return _HEAD.pack(_HEAD.size + len(body), 0, number, _OP_MSG) + body

    def _enable(self, command: Document) -> Document:
        self.databases.add(command["enableSharding"])
        return {"ok": 1.0}

    def _shard(self, command: Document) -> Document:
        namespace, key = command["shardCollection"], command["key"]
        if namespace.partition(".")[0] not in self.databases:
            return {
                "ok": 0.0,
                "errmsg": f"sharding not enabled for db {namespace}",
                "code": 20,
                "codeName": "IllegalOperation",
            }
        if self.sharded.setdefault(namespace, (key, []))[0] != key:
            return {
                "ok": 0.0,
                "errmsg": "already sharded with another key",
                "code": 23,
                "codeName": "AlreadyInitialized",
            }
        return {"ok": 1.0}

    def _split(self, command: Document) -> Document:
        key, starts = self.sharded[command["split"]]
        middle = command["middle"]
        if list(middle) != list(key):
            return {"ok": 0.0, "errmsg": f"new split key {middle} is not valid for shard key pattern {key}"}
        if middle in starts:
            return {"ok": 0.0, "errmsg": f"new split key {middle} is a boundary key of existing chunk"}
        starts.append(middle)
        self.splits += 1
        return {"ok": 1.0}

    def _config(self, command: Document) -> Document:
        rows: list[Document] = []
        for namespace, (key, starts) in self.sharded.items():
            uuid = Binary(namespace.encode()[-16:].rjust(16, b"\0"), 4)
            if command["find"] == "collections" and command["filter"]["_id"] == namespace:
                rows.append({"_id": namespace, "key": key, "uuid": uuid})
            if command["find"] == "chunks" and command["filter"]["uuid"] == uuid:
                first = dict.fromkeys(key, MinKey())
                rows += [{"_id": uuid4().hex, "uuid": uuid, "min": start} for start in (first, *starts)]
        return {"cursor": {"firstBatch": rows, "id": bson.Int64(0), "ns": f"config.{command['find']}"}, "ok": 1.0}


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(_HEAD.size)
    return head + await reader.readexactly(_HEAD.unpack(head)[0] - _HEAD.size)


def _as_a_mongos(answer: bytes) -> bytes:
    """The answer of a replica set's member to `hello`, as a mongos would give it; any other as it is."""
    _, number, to, operation = _HEAD.unpack_from(answer)
    start = 36 if operation == _OP_REPLY else 21
    if operation == _OP_MSG and answer[20] != 0:
        return answer
    found = bson.decode(answer[start:])
    if "maxWireVersion" not in found:
        return answer
    said = {name: value for name, value in found.items() if name not in _OF_A_MEMBER} | {"msg": "isdbgrid"}
    body = answer[_HEAD.size : start] + bson.encode(said)
    return _HEAD.pack(_HEAD.size + len(body), number, to, operation) + body
