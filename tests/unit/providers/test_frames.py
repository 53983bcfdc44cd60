"""The frames of an HTTP/2 server are cut the same way however they arrive, and GOAWAY is taken out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.delivery.providers.http2.frames import FrameSplitter, GoAway

_GOAWAY = 7


def frame(kind: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, 0)) + bytes(4) + payload


_other = st.builds(frame, st.sampled_from([0, 1, 4, 6, 8, 200]), st.binary(max_size=60))
_last = st.integers(0, 2**31 - 1)


@given(frames=st.lists(_other | _last, max_size=8), data=st.data())
def test_any_cut_of_the_bytes_gives_the_same_frames(frames: list[bytes | int], data: st.DataObject) -> None:
    sent = b"".join(
        frame(_GOAWAY, one.to_bytes(4, "big") + bytes(4) + b"why") if isinstance(one, int) else one for one in frames
    )
    expected = [GoAway(one) if isinstance(one, int) else one for one in frames]
    splitter, found, at = FrameSplitter(), list[bytes | GoAway](), 0
    while at < len(sent):
        end = data.draw(st.integers(at + 1, len(sent)))
        found += splitter.feed(sent[at:end])
        at = end
    assert [one for one in found if isinstance(one, GoAway)] == [one for one in expected if isinstance(one, GoAway)]
    assert _joined(found) == _joined(expected)


def _joined(pieces: list[bytes | GoAway]) -> list[bytes | GoAway]:
    """Neighbours that are bytes may come together or apart."""
    joined: list[bytes | GoAway] = []
    for piece in pieces:
        if isinstance(piece, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff" + bytes(6), (16_385).to_bytes(3, "big") + bytes(6), frame(_GOAWAY, bytes(7))]
)
def test_what_is_no_frame_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        FrameSplitter().feed(data)
