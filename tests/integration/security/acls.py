"""Adds and removes rights in Kafka: aiokafka's admin client cannot."""

from __future__ import annotations

import socket
import struct
from typing import Final

_CREATE: Final = 30
_DELETE: Final = 31
_RESOURCES: Final = {"topic": 2, "group": 3}
_OPERATIONS: Final = {"Read": 3, "Write": 4, "Describe": 8}
_LITERAL: Final = 3
_ALLOW: Final = 3


def allow(address: str, user: str, resource: str, name: str, operation: str) -> None:
    """Give `user` a right on the topic or group `name`."""
    _send(address, _CREATE, _rule(user, resource, name, operation))


def forbid(address: str, user: str, resource: str, name: str, operation: str) -> None:
    """Take it away again."""
    _send(address, _DELETE, _rule(user, resource, name, operation))


def _rule(user: str, resource: str, name: str, operation: str) -> bytes:
    """The same fields in both requests: https://kafka.apache.org/protocol#The_Messages_CreateAcls (version 1)."""
    head = struct.pack(">ib", 1, _RESOURCES[resource]) + _text(name) + struct.pack(">b", _LITERAL)
    return head + _text(f"User:{user}") + _text("*") + struct.pack(">bb", _OPERATIONS[operation], _ALLOW)


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _send(address: str, api: int, body: bytes) -> None:
    request = struct.pack(">hhi", api, 1, 1) + _text("tests") + body
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        # size, correlation id, throttle time, number of results, error of the first
        *_, count, error = struct.unpack(">iiiih", connection.recv(18, socket.MSG_WAITALL))
    assert (count, error) == (1, 0), f"Kafka refused the rule: error {error}"
