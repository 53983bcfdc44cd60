"""Asks every region; one that does not answer is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from aiokafka.errors import KafkaError
from botocore.exceptions import BotoCoreError
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from notify_streams.errors import RetryLater, SettingsError
from notify_streams.stores.mongo_errors import mongo_reason
from notify_streams.stores.redis import redis_reason
from notify_streams.transport.send_errors import SendError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from notify_streams.settings import Settings

Answer = TypeVar("Answer")
#: What a driver or a store raises when a service does not answer.
AWAY: Final = (RetryLater, SendError, KafkaError, PyMongoError, RedisError, BotoCoreError, OSError)


def why_away(error: BaseException) -> str:
    """Ours says which service; a driver's own text may hold credentials or a document."""
    if isinstance(error, RetryLater | SettingsError):
        return str(error)
    if isinstance(error, PyMongoError):
        return f"MongoDB {mongo_reason(error)}"
    if isinstance(error, RedisError):
        return f"Redis {redis_reason(error)}"
    return f"a service failed ({type(error).__name__})"


async def ask_regions(
    regions: Sequence[str], settings_of: Callable[[str], Settings], ask: Callable[[Settings], Awaitable[Answer]]
) -> tuple[dict[str, Answer], dict[str, str]]:
    """The answers by region, and why the other regions gave none.

    Args:
        settings_of: raises `SettingsError` for a region that is not known here.
    """
    answers: dict[str, Answer] = {}
    away: dict[str, str] = {}
    for region in regions:
        try:
            answers[region] = await ask(settings_of(region))
        except (SettingsError, *AWAY) as error:
            away[region] = why_away(error)
    return answers, away
