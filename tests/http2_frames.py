"""The frames of an HTTP/2 connection, as they were sent."""

from __future__ import annotations

from hyperframe.frame import Frame


def frames(data: bytes) -> list[tuple[str, int]]:
    """Type and stream of each frame; of GOAWAY the last stream."""
    found = []
    while data:
        frame, length = Frame.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + length]))
        found.append((type(frame).__name__, getattr(frame, "last_stream_id", frame.stream_id)))
        data = data[9 + length :]
    return found
