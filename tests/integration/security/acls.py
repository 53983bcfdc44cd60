"""Changes rights and passwords in Kafka: aiokafka's admin client cannot."""

from __future__ import annotations

import hashlib
import socket
import struct
from typing import Final

_CREATE: Final = 30
_DELETE: Final = 31
_SCRAM: Final = 51
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


def set_password(address: str, user: str, password: str) -> None:
    """Give a user this password for SCRAM-SHA-512: https://kafka.apache.org/protocol#The_Messages_AlterUserScramCredentials (version 0)."""
    salt, iterations = b"salt" * 4, 4096
    salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    # Deletions: none. Insertions: one, of mechanism 2. Lengths are one more than they are; each structure ends with its number of tags.
    body = b"\x01\x02" + _compact(user.encode()) + struct.pack(">bi", 2, iterations) + _compact(salt) + _compact(salted)
    # Size, correlation id, tags, throttle time, number of results + 1, user and error of the first.
    form = f">iibib{len(user) + 1}sh"
    *_, count, _, error = struct.unpack(
        form, _exchange(address, _SCRAM, 0, b"\x00" + body + b"\x00\x00", struct.calcsize(form))
    )
    assert (count, error) == (2, 0), f"Kafka refused the password: error {error}"


def _compact(value: bytes) -> bytes:
    return bytes((len(value) + 1,)) + value


def _rule(user: str, resource: str, name: str, operation: str) -> bytes:
    """The same fields in both requests: https://kafka.apache.org/protocol#The_Messages_CreateAcls (version 1)."""
    head = struct.pack(">ib", 1, _RESOURCES[resource]) + _text(name) + struct.pack(">b", _LITERAL)
    return head + _text(f"User:{user}") + _text("*") + struct.pack(">bb", _OPERATIONS[operation], _ALLOW)


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _send(address: str, api: int, body: bytes) -> None:
    # Size, correlation id, throttle time, number of results, error of the first.
    *_, count, error = struct.unpack(">iiiih", _exchange(address, api, 1, body, 18))
    assert (count, error) == (1, 0), f"Kafka refused the rule: error {error}"


def _exchange(address: str, api: int, version: int, body: bytes, size: int) -> bytes:
    """The first bytes of the reply."""
    request = struct.pack(">hhi", api, version, 1) + _text("tests") + body
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        return connection.recv(size, socket.MSG_WAITALL)
