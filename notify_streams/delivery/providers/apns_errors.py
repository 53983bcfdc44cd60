"""Reasons of APNs, and what the delivery does next.

Source: https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns
"""

from __future__ import annotations

from typing import Final

from notify_streams.delivery.providers.provider import ProviderOutcome

_RETRY: Final = ProviderOutcome.RETRY
_REJECTED: Final = ProviderOutcome.REJECTED
_DEAD: Final = ProviderOutcome.DEAD_TOKEN
#: Every reason of the table, and `BadEnvironmentKeyInToken`, which servers send instead of
#: `BadEnvironmentKeyIdInToken`. A reason about our credential, topic or connection is retried: it says nothing about the message.
#: `BadDeviceToken` and `DeviceTokenNotForTopic` end no token: the wrong environment or topic gives them for every device.
REASONS: Final = {
    # 400
    "BadCollapseId": _REJECTED,
    "BadDeviceToken": _REJECTED,
    "BadExpirationDate": _REJECTED,
    "BadMessageId": _REJECTED,
    "BadPriority": _REJECTED,
    "BadTopic": _RETRY,
    "DeviceTokenNotForTopic": _REJECTED,
    "DuplicateHeaders": _REJECTED,
    "IdleTimeout": _RETRY,
    "InvalidPushType": _REJECTED,
    "MissingDeviceToken": _REJECTED,
    "MissingTopic": _RETRY,
    "PayloadEmpty": _REJECTED,
    "TopicDisallowed": _RETRY,
    # 403
    "BadCertificate": _RETRY,
    "BadCertificateEnvironment": _RETRY,
    "BadEnvironmentKeyIdInToken": _RETRY,
    "BadEnvironmentKeyInToken": _RETRY,
    "ExpiredProviderToken": _RETRY,
    "Forbidden": _RETRY,
    "InvalidProviderToken": _RETRY,
    "MissingProviderToken": _RETRY,
    "UnrelatedKeyIdInToken": _RETRY,
    # 404, 405
    "BadPath": _REJECTED,
    "MethodNotAllowed": _REJECTED,
    # 410
    "ExpiredToken": _DEAD,
    "Unregistered": _DEAD,
    # 413
    "PayloadTooLarge": ProviderOutcome.TOO_LARGE,
    # 429
    "TooManyProviderTokenUpdates": _RETRY,
    "TooManyRequests": _RETRY,
    # 500, 503
    "InternalServerError": _RETRY,
    "ServiceUnavailable": _RETRY,
    "Shutdown": _RETRY,
}
