"""The table `users` of this region's registry replica. In: rows and ids; out: rows, or what became of a write.

Every call has a timeout and a bounded number of attempts; then it raises `RetryLater` (throttled) or `StoreUnavailable` (silent).
Reads are strongly consistent within the region; other regions' writes arrive when AWS, or the local replicator, brings them.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from notify_streams.errors import RetryLater
from notify_streams.registry.dynamodb_errors import CONDITION_FAILED, TRANSACTION_REFUSED, code_of, translate
from notify_streams.registry.user import KEY, Item, User, from_item, to_item
from notify_streams.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from notify_streams.settings import Settings

log = logging.getLogger(__name__)

#: Limits of one BatchGetItem (100 keys) and a polite page of a Scan.
_KEYS_A_CALL: Final = 100
_ROWS_A_PAGE: Final = 1_000
_CALLS_AT_ONCE: Final = 32
#: Calls for a hundred rows each.
_LARGE_AT_ONCE: Final = 4
_ROWS_A_TRANSACTION: Final = 100
_WORTH_A_TRANSACTION: Final = 8
_CONNECT_TIMEOUT_S: Final = 1.0
_READ_TIMEOUT_S: Final = 4.0
_LARGE: Final = frozenset(("batch_get_item", "transact_write_items", "scan"))
RETRIES: Final = RetryPolicy("registry", first_s=0.05, max_s=1.0, max_attempts=5)


class WriteOutcome(StrEnum):
    """What became of a conditional write."""

    WRITTEN = "written"
    #: The row was there already, as asked for: an earlier try of the same write came through.
    SAME = "same"
    #: A row of this version or a later one is there, and it says something else.
    STALE = "stale"


class WriteResult(NamedTuple):
    """The outcome of a conditional write, and the row that the registry holds now."""

    wrote: WriteOutcome
    held: User


class UsersTable:
    """A client of one region's replica. `start` opens no connection; the first call does."""

    def __init__(self, settings: Settings, retries: RetryPolicy = RETRIES) -> None:
        self._name = settings.users_table
        self._url = settings.dynamodb
        self._retries = retries
        self._closing = AsyncExitStack()
        self._small, self._large = asyncio.Semaphore(_CALLS_AT_ONCE), asyncio.Semaphore(_LARGE_AT_ONCE)
        self.client: Any = None

    async def start(self) -> None:
        """Make the client: credentials and AWS region from the usual chain, or any will do where a URL is set (DynamoDB Local)."""
        options: dict[str, Any] = {}
        if self._url is not None:
            options = {
                "endpoint_url": self._url,
                "region_name": "us-east-1",
                "aws_access_key_id": "local",
                "aws_secret_access_key": "local",
            }
        config = AioConfig(
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            retries={"total_max_attempts": 1},  # ours are bounded, jittered and end in RetryLater
            max_pool_connections=_CALLS_AT_ONCE,
        )
        self.client = await self._closing.enter_async_context(
            get_session().create_client("dynamodb", config=config, **options)
        )

    async def close(self) -> None:
        """Close the connections; a second time changes nothing."""
        await self._closing.aclose()

    async def put(self, user: User) -> WriteResult:
        """Write the row unless one of its version or a later one is there. Repeating it is safe and says `SAME`."""
        try:
            await self._attempt("put_item", {**self._write(user), "ReturnValuesOnConditionCheckFailure": "ALL_OLD"})
        except ClientError as error:
            held = from_item(error.response["Item"])
            asked = (user.region, user.version, user.updated_at)
            same = (held.region, held.version, held.updated_at) == asked
            return WriteResult(WriteOutcome.SAME if same else WriteOutcome.STALE, held)
        return WriteResult(WriteOutcome.WRITTEN, user)

    async def get(self, user_id: str) -> User | None:
        """One row, None if there is none."""
        answer = await self._call("get_item", Key={KEY: {"S": user_id}}, ConsistentRead=True)
        return from_item(answer["Item"]) if "Item" in answer else None

    async def get_many(self, user_ids: Iterable[str]) -> dict[str, User]:
        """The rows of those who have one. Keys that DynamoDB left over are asked for again, a bounded number of times."""
        ids = list(dict.fromkeys(user_ids))
        parts = [ids[start : start + _KEYS_A_CALL] for start in range(0, len(ids), _KEYS_A_CALL)]
        found: dict[str, User] = {}
        for rows in await _all_or_none([self._get_part(part) for part in parts]):
            found.update((user.user_id, user) for user in rows)
        return found

    async def put_many(self, users: Sequence[User]) -> list[WriteResult]:
        """`put` for each, in the order of `users`; each person at most once. Raises if any could not be told; some may be written.

        Many are written a hundred a transaction, which costs twice the write units and a hundredth of the calls; where one of
        them is refused, the hundred are written one by one.
        """
        parts = [users[start : start + _ROWS_A_TRANSACTION] for start in range(0, len(users), _ROWS_A_TRANSACTION)]
        return [write for part in await _all_or_none([self._put_part(part) for part in parts]) for write in part]

    async def delete(self, user_id: str, version: int) -> bool:
        """Remove the row unless a later version than `version` is there; whether it is gone."""
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
        """All rows, in pages; several segments can be read side by side. Eventually consistent, at half the price.

        Rows that this application did not write are passed over, so that one of them cannot hide all others.
        """
        options: dict[str, Any] = {"Segment": segment, "TotalSegments": segments, "Limit": _ROWS_A_PAGE}
        while True:
            page = await self._call("scan", **options)
            yield _readable(page.get("Items", ()))
            if "LastEvaluatedKey" not in page:
                return
            options["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    async def _put_part(self, users: Sequence[User]) -> list[WriteResult]:
        if len(users) >= _WORTH_A_TRANSACTION:
            try:
                await self._attempt(
                    "transact_write_items", {"TransactItems": [{"Put": self._write(one)} for one in users]}
                )
            except ClientError:
                pass
            else:
                return [WriteResult(WriteOutcome.WRITTEN, user) for user in users]
        return await _all_or_none([self.put(user) for user in users])

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
        attempts = self._retries.attempts()
        while wanted:
            answer = await self._attempt("batch_get_item", {"RequestItems": wanted})
            items += answer.get("Responses", {}).get(self._name, ())
            wanted = answer.get("UnprocessedKeys")
            if wanted:
                await attempts.failed(RetryLater("DynamoDB left keys of a batch unread: it is throttled"))
        return [from_item(item) for item in items]

    async def _call(self, name: str, **arguments: Any) -> Any:
        return await self._attempt(name, {"TableName": self._name, **arguments})

    async def _attempt(self, name: str, arguments: dict[str, Any]) -> Any:
        attempts = self._retries.attempts()
        while True:
            try:
                async with self._large if name in _LARGE else self._small:
                    return await getattr(self.client, name)(**arguments)
            except Exception as error:
                if isinstance(error, ClientError) and code_of(error) in (CONDITION_FAILED, TRANSACTION_REFUSED):
                    raise
                ours = translate(error, name)
                if not isinstance(ours, RetryLater):
                    raise ours from error
                ours.__cause__ = error
                await attempts.failed(ours)


def _readable(items: Sequence[Item]) -> list[User]:
    users = []
    for item in items:
        try:
            users.append(from_item(item))
        except (KeyError, ValueError) as error:
            log.error("a row of the registry is no user's", extra={"action": "scan", "error": repr(error)})
    return users


async def _all_or_none(calls: Sequence[Any]) -> list[Any]:
    """Every result, in order, or the first error once all calls have ended: none is left running behind the caller's back."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return list(results)
