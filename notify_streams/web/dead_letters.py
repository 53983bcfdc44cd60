"""`/dead-letters`: the number of dead letters by reason, and the newest of them.

``?limit=`` selects how many (default 20, at most 100); ``?values=true`` adds the first 2,000 characters of each value.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from notify_streams.routing.outcome_records import DEAD_LETTER_HEADERS
from notify_streams.topics import DEAD_LETTERS
from notify_streams.web.ledger import read_ledger, sums
from notify_streams.web.responses import WebView, json_response
from notify_streams.web.shared_result import SharedResult
from notify_streams.web.topic_tail import read_tail

if TYPE_CHECKING:
    from aiohttp.web import Request, Response
    from aiokafka.structs import ConsumerRecord

    from notify_streams.web.ledger import Sums
    from notify_streams.web.topic_tail import TopicTail

_DEFAULT_LIMIT: Final = 20
_MAX_LIMIT: Final = 100
_MAX_VALUE_CHARS: Final = 2_000


class DeadLetters(WebView):
    """What is read from MongoDB and Kafka is shared by all clients for a second."""

    right = "read"
    timeout_s = 12.0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._shared = SharedResult(self._read)

    async def get(self, request: Request) -> Response:
        limit = parse_limit(request.query.get("limit"))
        if limit is None:
            return json_response({"error": f"`limit` must be a number from 1 to {_MAX_LIMIT}"}, 400)
        with_values = request.query.get("values", "").lower() in ("1", "true", "yes")
        summed, complete, newest = await self._shared.get()
        return json_response(
            {
                "region": self.worker.settings.region,
                "dead": summed.total["dead"],
                "reasons": summed.dead_reasons,
                "complete": complete and newest.complete,
                "newest": [dead_letter_payload(record, with_value=with_values) for record in newest.records[:limit]],
            }
        )

    async def _read(self) -> tuple[Sums, bool, TopicTail]:
        rows, complete = await read_ledger(self.worker.shards, self.store_timeout_s)
        newest = await read_tail(self.worker, DEAD_LETTERS, _MAX_LIMIT)
        return sums(rows, complete=complete), complete, newest


def parse_limit(text: str | None) -> int | None:
    """None if it is not a number in the range."""
    if text is None:
        return _DEFAULT_LIMIT
    return int(text) if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MAX_LIMIT else None


def dead_letter_payload(record: ConsumerRecord[bytes, bytes], *, with_value: bool) -> dict[str, Any]:
    """One dead letter as JSON."""
    headers = [(name, _text(content) or "") for name, content in record.headers]
    by_name = dict(headers)
    payload: dict[str, Any] = {
        "place": f"{record.topic}-{record.partition}@{record.offset}",
        "at": datetime.fromtimestamp(record.timestamp / 1000, UTC),
        "key": _text(record.key),
        "bytes": len(record.value or b""),
    }
    payload |= {name: by_name.get(name) for name in DEAD_LETTER_HEADERS}
    payload["headers"] = headers[: -len(DEAD_LETTER_HEADERS)]
    if with_value:
        value = _text(record.value)
        payload["value"] = None if value is None else value[:_MAX_VALUE_CHARS]
    return payload


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "replace")
