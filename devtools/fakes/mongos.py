"""A fake mongos in front of one shard, because no mongos can be installed.

It answers `hello` as a mongos does, performs the sharding commands itself as MongoDB 6.0 does (`cluster_split_cmd.cpp`: a split at an
existing boundary fails without an error code), records them, and forwards everything else.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import bson
from bson import Binary, MinKey

from devtools.fakes.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

Document = dict[str, Any]

_OP_REPLY, _OP_MSG = 1, 2013
_HEADER = struct.Struct("<iiii")
#: Fields of `hello` that only members of a replica set have.
_MEMBER_FIELDS = (
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


class FakeMongos(TcpProxy):
    """``async with FakeMongos(uri) as mongos``, then connect a client to `mongos.uri`."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        #: namespace → shard key, and where its chunks begin besides the first.
        self.sharded: dict[str, tuple[Document, list[Document]]] = {}
        self.databases: set[str] = set()
        self.splits = 0

    async def serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        behind_reader: asyncio.StreamReader,
        behind_writer: asyncio.StreamWriter,
    ) -> None:
        while True:
            request = await _read_message(reader)
            reply = self._own_reply(request)
            if reply is None:
                behind_writer.write(request)
                reply = _like_a_mongos(await _read_message(behind_reader))
            writer.write(reply)

    def _own_reply(self, request: bytes) -> bytes | None:
        _, request_id, _, operation = _HEADER.unpack_from(request)
        if operation != _OP_MSG or request[20] != 0:
            return None
        command = bson.decode(request[21 : 21 + struct.unpack_from("<i", request, 21)[0]])
        sharding: dict[str, Callable[[Document], Document]] = {
            "enableSharding": self._enable,
            "shardCollection": self._shard,
            "split": self._split,
        }
        name = next(iter(command))
        if command["$db"] == "config" and name == "find":
            reply = self._config(command)
        elif command["$db"] == "admin" and name in sharding:
            reply = sharding[name](command)
        else:
            return None
        body = b"\0\0\0\0\0" + bson.encode(reply)
        return _HEADER.pack(_HEADER.size + len(body), 0, request_id, _OP_MSG) + body

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


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    header = await reader.readexactly(_HEADER.size)
    return header + await reader.readexactly(_HEADER.unpack(header)[0] - _HEADER.size)


def _like_a_mongos(reply: bytes) -> bytes:
    """A replica set member's reply to `hello` as a mongos would give it; any other reply unchanged."""
    _, request_id, response_to, operation = _HEADER.unpack_from(reply)
    start = 36 if operation == _OP_REPLY else 21
    if operation == _OP_MSG and reply[20] != 0:
        return reply
    document = bson.decode(reply[start:])
    if "maxWireVersion" not in document:
        return reply
    hello = {name: value for name, value in document.items() if name not in _MEMBER_FIELDS} | {"msg": "isdbgrid"}
    body = reply[_HEADER.size : start] + bson.encode(hello)
    return _HEADER.pack(_HEADER.size + len(body), request_id, response_to, operation) + body
