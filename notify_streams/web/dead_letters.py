"""`/dead-letters`: the number of dead letters by reason, and the newest of them.

``?limit=`` selects how many (default 20, at most 100); ``?values=true`` adds the first 2,000 characters of each value.
Of the headers the first 50 are shown, and of each 2,000 characters.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiokafka import TopicPartition

from notify_streams.routing.outcome_records import DEAD_LETTER_HEADERS
from notify_streams.topics import DEAD_LETTERS
from notify_streams.web.kafka_reader import kafka_reader
from notify_streams.web.ledger import region_ledger, sums
from notify_streams.web.pages.rendering import wants_page
from notify_streams.web.responses import WebView, json_response
from notify_streams.web.shared_result import SharedResult

if TYPE_CHECKING:
    from aiohttp.web import Request, Response
    from aiokafka.structs import ConsumerRecord

    class _Reader(Protocol):
        """A `KafkaReader`."""

        async def extents(
            self, partitions: list[TopicPartition], /
        ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]: ...

        async def read(
            self, ranges: dict[TopicPartition, tuple[int, int]], /
        ) -> tuple[list[ConsumerRecord[bytes, bytes]], bool]: ...


_DEFAULT_LIMIT: Final = 20
_MAX_LIMIT: Final = 100
_MAX_LIMIT_DIGITS: Final = 9
_MAX_VALUE_CHARS: Final = 2_000
_MAX_HEADERS: Final = 50


class NewestDeadLetters:
    """The newest 100 dead letters. Each reading begins where the last one ended, so it usually costs one request."""

    def __init__(self, reader: _Reader, partitions: int) -> None:
        self._reader = reader
        self._partitions = [TopicPartition(DEAD_LETTERS, number) for number in range(partitions)]
        self._read_until: dict[TopicPartition, int] = {}
        #: By time, the newest first.
        self._newest: list[tuple[int, dict[str, Any]]] = []

    async def read(self) -> tuple[list[dict[str, Any]], bool]:
        """The newest first; False if a limit ended the reading, so that some may be missing.

        Raises:
            StoreUnavailable: Kafka does not answer.
        """
        beginnings, ends = await self._reader.extents(self._partitions)
        if any(ends[partition] < until for partition, until in self._read_until.items()):  # the topic was created anew
            self._newest, self._read_until = [], {}
        ranges = {
            partition: (start, end)
            for partition, end in ends.items()
            if (start := max(beginnings[partition], end - _MAX_LIMIT, self._read_until.get(partition, 0))) < end
        }
        records, complete = await self._reader.read(ranges) if ranges else ([], True)
        if records:
            found = [(record.timestamp, dead_letter_payload(record)) for record in records]
            self._newest = sorted(self._newest + found, key=lambda one: one[0], reverse=True)[:_MAX_LIMIT]
        if complete:
            self._read_until = ends
        else:  # the next reading goes on where this one ended
            self._read_until |= {TopicPartition(one.topic, one.partition): one.offset + 1 for one in records}
        return [payload for _, payload in self._newest], complete


class DeadLetters(WebView):
    """The newest dead letters are shared by all clients for a second."""

    right = "read"
    timeout_s = 12.0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        newest = NewestDeadLetters(kafka_reader(self.worker), self.worker.settings.partitions)
        self._newest = SharedResult(newest.read)

    async def get(self, request: Request) -> Response:
        limit = parse_limit(request.query.get("limit"))
        if limit is None:
            return self.error_response(request, f"`limit` must be a number from 1 to {_MAX_LIMIT}", 400)
        with_values = request.query.get("values", "").lower() in ("1", "true", "yes")
        rows, complete = await region_ledger(self.worker)
        newest, all_read = await self._newest.get()
        summed = sums(rows, complete=complete)
        hidden = () if with_values else ("value",)
        found = {
            "region": self.worker.settings.region,
            "dead": summed.total["dead"],
            "reasons": summed.dead_reasons,
            "complete": complete and all_read,
            "newest": [{name: one[name] for name in one if name not in hidden} for one in newest[:limit]],
        }
        if wants_page(request.headers):
            return self.page(request, "dead_letters.html", found=found, with_values=with_values)
        return json_response(found)


def parse_limit(text: str | None) -> int | None:
    """None if it is not a number in the range."""
    if text is None:
        return _DEFAULT_LIMIT
    limit = int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_LIMIT_DIGITS else 0
    return limit if 1 <= limit <= _MAX_LIMIT else None


def dead_letter_payload(record: ConsumerRecord[bytes, bytes]) -> dict[str, Any]:
    """One dead letter as JSON, with the beginning of its value."""
    headers = [(name, _text(content) or "") for name, content in record.headers]
    by_name = dict(headers)
    payload: dict[str, Any] = {
        "place": f"{record.topic}-{record.partition}@{record.offset}",
        "at": datetime.fromtimestamp(record.timestamp / 1000, UTC),
        "key": _text(record.key),
        "bytes": len(record.value or b""),
    }
    payload |= {name: by_name.get(name) for name in DEAD_LETTER_HEADERS}
    payload["headers"] = headers[: -len(DEAD_LETTER_HEADERS)][:_MAX_HEADERS]
    payload["value"] = _text(record.value)
    return payload


def _text(content: bytes | None) -> str | None:
    """The first 2,000 characters."""
    return None if content is None else content[: 4 * _MAX_VALUE_CHARS].decode("utf-8", "replace")[:_MAX_VALUE_CHARS]
