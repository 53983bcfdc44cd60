"""Which outbox rows an erasure waits for."""

import msgspec
import pytest

from notify_streams.erasure.history import names


@pytest.mark.parametrize("user_id", ["u-1", "ä 1", "u" * 128])
def test_a_row_of_another_user_whose_id_contains_this_one_is_not_waited_for(user_id: str) -> None:
    def packed(key: str | None, value: object) -> bytes:
        return msgspec.msgpack.encode([(None if key is None else key.encode(), msgspec.json.encode(value), [])])

    assert names(packed(user_id, {}), user_id)
    assert names(packed(None, {"user_id": user_id}), user_id)
    for other in (f"{user_id}0", f"0{user_id}"):
        assert not names(packed(other, {"user_id": other}), user_id)
