"""Reads and writes the table `users` in this region's replica of the registry.

Every call has a timeout and a bounded number of attempts; then it raises `RetryLater` (throttled) or `StoreUnavailable` (no response).
Reads are strongly consistent within the region; writes of other regions arrive when AWS, or the local replicator, copies them.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from botocore.exceptions import ClientError

from notify_streams import tasks
from notify_streams.errors import RetryLater
from notify_streams.registry.dynamodb_errors import (
    CONDITION_FAILED,
    ROW_REFUSED,
    TRANSACTION_REFUSED,
    error_code,
    translate,
)
from notify_streams.registry.user import KEY, Item, User, from_item, is_same, to_item
from notify_streams.retry import RetryPolicy
from notify_streams.stores import dynamodb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from notify_streams.settings import Settings

log = logging.getLogger(__name__)

#: DynamoDB's limit of keys for one BatchGetItem, and of items for one transaction.
_KEYS_PER_CALL: Final = 100
_ROWS_PER_TRANSACTION: Final = 100
#: Fewer rows are written one by one.
_MIN_TRANSACTION_ROWS: Final = 8
_ROWS_PER_PAGE: Final = 1_000
_CONCURRENT_CALLS: Final = 32
#: Calls with up to a hundred rows each.
_CONCURRENT_LARGE_CALLS: Final = 4
_LARGE: Final = frozenset(("batch_get_item", "transact_write_items", "scan"))
#: The caller decides what they mean.
_REFUSALS: Final = ROW_REFUSED | {CONDITION_FAILED, TRANSACTION_REFUSED}
_RETRY: Final = RetryPolicy("registry", first_s=0.05, max_s=1.0, max_attempts=5)


class WriteOutcome(StrEnum):
    """The outcome of a conditional write."""

    WRITTEN = "written"
    #: The same row was there already: an earlier attempt of this write succeeded.
    SAME = "same"
    #: A different row of this version, or a later version, is there.
    STALE = "stale"
    #: DynamoDB cannot hold this row, or holds one of this user that cannot be read. Repeating the write does not help.
    REFUSED = "refused"


class WriteResult(NamedTuple):
    """The outcome of a conditional write, and the row that the registry holds after it; with `REFUSED` the row that was to be written."""

    outcome: WriteOutcome
    row: User


class UsersTable:
    """A client of one region's replica."""

    def __init__(self, settings: Settings, retry: RetryPolicy = _RETRY) -> None:
        self._name = settings.users_table
        self._url = settings.dynamodb
        self._retry = retry
        self._closing = AsyncExitStack()
        self._small, self._large = asyncio.Semaphore(_CONCURRENT_CALLS), asyncio.Semaphore(_CONCURRENT_LARGE_CALLS)
        self.client: Any = None

    async def start(self) -> None:
        """Create the client; it connects at the first call."""
        client = dynamodb.client(self._url, max_connections=_CONCURRENT_CALLS)
        self.client = await self._closing.enter_async_context(client)

    async def close(self) -> None:
        """Close the connections; may be called twice."""
        await self._closing.aclose()

    async def put(self, user: User) -> WriteResult:
        """Write the row unless its version or a later one is there. Safe to repeat; the outcome is then `SAME`."""
        try:
            await self._attempt("put_item", {**self._write(user), "ReturnValuesOnConditionCheckFailure": "ALL_OLD"})
        except ClientError as error:
            row = None if error_code(error) in ROW_REFUSED else _readable(error.response["Item"])
            if row is None:
                return WriteResult(WriteOutcome.REFUSED, user)
            return WriteResult(WriteOutcome.SAME if is_same(row, user) else WriteOutcome.STALE, row)
        return WriteResult(WriteOutcome.WRITTEN, user)

    async def get(self, user_id: str) -> User | None:
        """One row, None if there is none."""
        return next(iter(await self._get_part([user_id])), None)

    async def get_many(self, user_ids: Iterable[str]) -> dict[str, User]:
        """The rows of the users that have one that can be read. Keys that were not processed are read again, a bounded number of times."""
        ids = list(dict.fromkeys(user_ids))
        parts = [ids[start : start + _KEYS_PER_CALL] for start in range(0, len(ids), _KEYS_PER_CALL)]
        found: dict[str, User] = {}
        for rows in await tasks.all_ended(self._get_part(part) for part in parts):
            found.update((user.user_id, user) for user in rows)
        return found

    async def put_many(self, users: Sequence[User]) -> list[WriteResult]:
        """`put` each user, and return the results in order; no user may occur twice. After an error some may have been written.

        Many users are written in transactions of a hundred rows, which cost twice the write units and a hundredth of the calls. If one
        row of a transaction is refused, its rows are written one by one.
        """
        parts = [users[start : start + _ROWS_PER_TRANSACTION] for start in range(0, len(users), _ROWS_PER_TRANSACTION)]
        return [write for part in await tasks.all_ended(self._put_part(part) for part in parts) for write in part]

    async def delete(self, user_id: str, version: int) -> bool:
        """Delete the row unless a later version than `version` is there; returns whether it is deleted."""
        try:
            await self._call(
                "delete_item",
                Key={KEY: {"S": user_id}},
                ConditionExpression="attribute_not_exists(#key) OR #version <= :version",
                ExpressionAttributeNames={"#key": KEY, "#version": "version"},
                ExpressionAttributeValues={":version": {"N": str(version)}},
            )
        except ClientError:
            return False
        return True

    async def scan(self, segment: int = 0, segments: int = 1) -> AsyncIterator[list[User]]:
        """All rows that can be read, in pages; segments can be read concurrently. Eventually consistent, at half the price."""
        options: dict[str, Any] = {"Segment": segment, "TotalSegments": segments, "Limit": _ROWS_PER_PAGE}
        while True:
            page = await self._call("scan", **options)
            yield [user for item in page.get("Items", ()) if (user := _readable(item)) is not None]
            if "LastEvaluatedKey" not in page:
                return
            options["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    async def _put_part(self, users: Sequence[User]) -> list[WriteResult]:
        if len(users) >= _MIN_TRANSACTION_ROWS:
            try:
                await self._attempt(
                    "transact_write_items", {"TransactItems": [{"Put": self._write(one)} for one in users]}
                )
            except ClientError:
                pass
            else:
                return [WriteResult(WriteOutcome.WRITTEN, user) for user in users]
        return await tasks.all_ended(self.put(user) for user in users)

    def _write(self, user: User) -> dict[str, Any]:
        return {
            "TableName": self._name,
            "Item": to_item(user),
            "ConditionExpression": "attribute_not_exists(#key) OR #version < :version",
            "ExpressionAttributeNames": {"#key": KEY, "#version": "version"},
            "ExpressionAttributeValues": {":version": {"N": str(user.version)}},
        }

    async def _get_part(self, ids: Sequence[str]) -> list[User]:
        items: list[Item] = []
        wanted: Any = {self._name: {"Keys": [{KEY: {"S": user_id}} for user_id in ids], "ConsistentRead": True}}
        attempts = self._retry.attempts()
        while wanted:
            try:
                response = await self._attempt("batch_get_item", {"RequestItems": wanted})
            except ClientError:
                if len(ids) == 1:
                    return []  # no row can have a key that DynamoDB refuses
                return [row for rows in await tasks.all_ended(self._get_part([one]) for one in ids) for row in rows]
            items += response.get("Responses", {}).get(self._name, ())
            wanted = response.get("UnprocessedKeys")
            if wanted:
                await attempts.failed(RetryLater("registry: batch_get_item: unprocessed keys, throttled"))
        return [user for item in items if (user := _readable(item)) is not None]

    async def _call(self, name: str, **arguments: Any) -> Any:
        return await self._attempt(name, {"TableName": self._name, **arguments})

    async def _attempt(self, name: str, arguments: dict[str, Any]) -> Any:
        attempts = self._retry.attempts()
        while True:
            try:
                async with self._large if name in _LARGE else self._small:
                    return await getattr(self.client, name)(**arguments)
            except Exception as error:
                if isinstance(error, ClientError) and error_code(error) in _REFUSALS:
                    raise
                ours = translate(error, name)
                if not isinstance(ours, RetryLater):
                    raise ours from error
                ours.__cause__ = error
                await attempts.failed(ours)


def _readable(item: Item) -> User | None:
    try:
        return from_item(item)
    except (KeyError, ValueError) as error:
        log.error("invalid registry row skipped", extra={"action": "registry_row.skip", "error": error})
        return None
