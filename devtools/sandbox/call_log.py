"""The call log: a JSON line for each call to the sandbox, also refused ones."""

from __future__ import annotations

from pathlib import Path

import msgspec


class ReceivedCall(msgspec.Struct, frozen=True, gc=False):
    """One call with a valid message."""

    #: Unix seconds: when the request began to arrive.
    at: float
    provider: str
    delivery_id: str
    #: The value of an `Action`.
    action: str


def read_calls(path: Path) -> list[ReceivedCall]:
    """The calls in the order of their lines. A last line without a line end is still being written and left out.

    Raises:
        msgspec.DecodeError: another line is not valid.
    """
    decode = msgspec.json.Decoder(ReceivedCall).decode
    return [decode(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
