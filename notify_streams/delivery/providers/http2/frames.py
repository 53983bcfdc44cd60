"""Cuts what an HTTP/2 server sends into whole frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: RFC 9113, section 4.1
_HEAD: Final = 9
_GOAWAY: Final = 7
#: the largest payload that we allow (SETTINGS_MAX_FRAME_SIZE)
MAX_PAYLOAD: Final = 16_384


@dataclass(frozen=True, slots=True)
class GoAway:
    """The server begins no stream above `last_stream_id`; those up to it may still be answered (RFC 9113, section 6.8)."""

    last_stream_id: int


class FrameSplitter:
    """Takes GOAWAY frames out: `h2` would refuse every frame after one, though earlier streams still get their responses."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes | GoAway]:
        """What `data` completes, in order: whole frames of other kinds, and GOAWAY frames.

        Raises:
            ValueError: a frame is too large, or malformed.
        """
        if self._rest:
            data = self._rest + data
        found: list[bytes | GoAway] = []
        start = at = 0
        while len(data) - at >= _HEAD:
            size = int.from_bytes(data[at : at + 3], "big")
            if size > MAX_PAYLOAD:
                raise ValueError("a frame is larger than allowed")
            end = at + _HEAD + size
            if end > len(data):
                break
            if data[at + 3] == _GOAWAY:
                if at > start:
                    found.append(data[start:at])
                found.append(_go_away(data[at + _HEAD : end]))
                start = end
            at = end
        if at > start:
            found.append(data[start:at])
        self._rest = data[at:]
        return found


def _go_away(payload: bytes) -> GoAway:
    if len(payload) < 8:
        raise ValueError("a GOAWAY frame is too short")
    return GoAway(int.from_bytes(payload[:4], "big") & 0x7FFFFFFF)
