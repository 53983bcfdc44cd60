"""FCM's error codes, and what each means for a delivery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from notify_streams.delivery.providers.provider import ProviderOutcome

_RETRY: Final = ProviderOutcome.RETRY
_REJECTED: Final = ProviderOutcome.REJECTED
_DEAD: Final = ProviderOutcome.DEAD_TOKEN

OUTCOMES: Final[Mapping[str, ProviderOutcome]] = {
    # `errorCode` of a reply: https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
    "UNSPECIFIED_ERROR": _RETRY,  # no more information is available
    "INVALID_ARGUMENT": _REJECTED,  # 400: invalid parameters, a message that is too big
    "UNREGISTERED": _DEAD,  # 404: the token is not valid any more
    "SENDER_ID_MISMATCH": _REJECTED,  # 403: the token belongs to another sender
    "QUOTA_EXCEEDED": _RETRY,  # 429: wait; of the project, a device or a topic
    "UNAVAILABLE": _RETRY,  # 503: overloaded; retry with the time of Retry-After
    "INTERNAL": _RETRY,  # 500: retry
    "THIRD_PARTY_AUTH_ERROR": _RETRY,  # 401: our APNs certificate or web push key is missing or invalid
    # The name of the same in firebase-admin (messaging._MessagingService.FCM_ERROR_TYPES).
    "APNS_AUTH_ERROR": _RETRY,
    # `status` of a reply without an errorCode: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
    "CANCELLED": _RETRY,  # 499
    "UNKNOWN": _RETRY,  # 500
    "DEADLINE_EXCEEDED": _RETRY,  # 504
    "NOT_FOUND": _RETRY,  # 404 without UNREGISTERED: the project, not the token
    "ALREADY_EXISTS": _REJECTED,  # 409
    "PERMISSION_DENIED": _RETRY,  # 403: our service account lacks a right, or the API is not enabled
    "UNAUTHENTICATED": _RETRY,  # 401: our access token
    "RESOURCE_EXHAUSTED": _RETRY,  # 429
    "FAILED_PRECONDITION": _RETRY,  # 400: the state of the project, not the message
    "ABORTED": _RETRY,  # 409: concurrency; retry
    "OUT_OF_RANGE": _REJECTED,  # 400
    "UNIMPLEMENTED": _RETRY,  # 501: not enabled in this service
    "DATA_LOSS": _RETRY,  # 500
    # Its name for 409 in firebase-admin (exceptions.CONFLICT).
    "CONFLICT": _RETRY,
}
