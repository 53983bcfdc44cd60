"""`/dead-letters`: how many triggers ended as one, by reason, and the newest of them. Needs the token: they hold people's data.

``?limit=`` (20, at most 100) newest records with their headers; ``?values=true`` adds what was sent, cut to 2,000 characters.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from notify_streams.topics import DEAD_LETTERS
from notify_streams.web.ledger import read_ledger, sums
from notify_streams.web.responses import WebView, answer
from notify_streams.web.topic_tail import read_tail

if TYPE_CHECKING:
    from aiohttp.web import Request, Response
    from aiokafka.structs import ConsumerRecord

_USUAL: Final = 20
_MOST: Final = 100
_LONGEST_VALUE: Final = 2_000
#: Ours come last, whatever headers the sender had set.
_WHY: Final = ("reason", "detail", "topic", "partition", "offset")


class DeadLetters(WebView):
    needs_token = True
    within_s = 12.0

    async def get(self, request: Request) -> Response:
        limit = limit_of(request.query.get("limit"))
        if limit is None:
            return answer({"error": f"`limit` is a number from 1 to {_MOST}"}, 400)
        with_values = request.query.get("values", "").lower() in ("1", "true", "yes")
        rows, complete = await read_ledger(self.worker.shards, self.store_s)
        newest = await read_tail(self.worker, DEAD_LETTERS, limit)
        summed = sums(rows, complete=complete)
        return answer(
            {
                "region": self.worker.settings.region,
                "dead": summed.total["dead"],
                "reasons": summed.dead_reasons,
                "complete": complete and newest.complete,
                "newest": [letter(record, with_value=with_values) for record in newest.records],
            }
        )


def limit_of(text: str | None) -> int | None:
    """None for what is no number of the range."""
    if text is None:
        return _USUAL
    return int(text) if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MOST else None


def letter(record: ConsumerRecord[bytes, bytes], *, with_value: bool) -> dict[str, Any]:
    """One dead letter for people to read."""
    headers = [(name, _text(content) or "") for name, content in record.headers]
    why = dict(headers)
    found: dict[str, Any] = {
        "place": f"{record.topic}-{record.partition}@{record.offset}",
        "at": datetime.fromtimestamp(record.timestamp / 1000, UTC),
        "key": _text(record.key),
        "bytes": len(record.value or b""),
    }
    found |= {name: why.get(name) for name in _WHY}
    found["headers"] = headers[: -len(_WHY)]
    if with_value:
        value = _text(record.value)
        found["value"] = None if value is None else value[:_LONGEST_VALUE]
    return found


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "replace")
