"""Push by Apple Push Notification service, HTTP/2 with token authentication.

`POST /3/device/{token}`. Requests: https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
Tokens: …/establishing-a-token-based-connection-to-apns. Reasons: …/handling-notification-responses-from-apns.
"""

from __future__ import annotations

import re
import time
from typing import Any, Final
from uuid import UUID, uuid5

import msgspec
import orjson

from notify_streams.delivery.providers.apns_errors import REASONS
from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.credential_files import CredentialFiles
from notify_streams.delivery.providers.delivery_metadata import delivery_metadata
from notify_streams.delivery.providers.es256 import Es256Key
from notify_streams.delivery.providers.http2.client import Http2Client
from notify_streams.delivery.providers.http_responses import HttpResponse, NoResponse, error_result, no_response_result
from notify_streams.delivery.providers.provider import Outgoing, ProviderOutcome, ProviderResult, unsendable
from notify_streams.delivery.providers.push_headers import apns_headers
from notify_streams.followed_files import BadCredential

#: "APNs device tokens are of variable length." All so far have 32 bytes or more.
_DEVICE_TOKEN: Final = re.compile(r"[0-9A-Fa-f]{64,200}")
_TOPIC: Final = re.compile(r"[A-Za-z0-9.-]{1,255}")
_MAX_PAYLOAD: Final = 4096
#: A token is valid for an hour, and may be renewed once in 20 minutes.
_RENEW_AFTER_S: Final = 50 * 60
_RENEWABLE_AFTER_S: Final = 20 * 60
#: The ids of messages are UUIDs of delivery id and device token in this namespace.
_NAMESPACE: Final = UUID("6a1a5e0c-5ad5-5b0e-9c1f-3f1d3a6f0c77")

#: the outcome of a response without a reason, by status (same table); of any other status: `error_result`
_STATUSES: Final = {410: ProviderOutcome.DEAD_TOKEN, 413: ProviderOutcome.TOO_LARGE}
_REASON: Final = re.compile(r"[A-Za-z]{1,64}")
_TOKEN_REASONS: Final = frozenset({"ExpiredProviderToken", "InvalidProviderToken"})
#: "The server received too many requests for the same device token consecutively."
_ABOUT_DEVICE: Final = "TooManyRequests"
#: These are about the settings, or about the `app` of one device.
_TOPIC_REASONS: Final = frozenset({"BadTopic", "TopicDisallowed"})


class Apns:
    """See `Provider`. An `Unregistered` or `ExpiredToken` device token is DEAD_TOKEN."""

    name = "apns"

    def __init__(self, config: ProviderConfig) -> None:
        """Raises:
        BadCredential: one is missing, or the key is not one.
        """
        self.max_in_flight = config.max_in_flight
        self._tokens = ProviderTokens.of(config)
        self._topic = config.apns_topic or ""
        self._http = Http2Client(config.apns or "", config)
        #: The provider token that the present connections know; None: they know none.
        self._sent: str | None = None
        self._files = CredentialFiles(self.name, config, ("apns_key_id", "apns_key"), self._loaded, self._use)

    async def start(self) -> None:
        await self._http.start()
        await self._files.start()

    async def close(self) -> None:
        await self._files.close()
        await self._http.close()

    async def send(self, message: Outgoing) -> ProviderResult:
        if not _DEVICE_TOKEN.fullmatch(message.to):
            return unsendable(self.name, ProviderOutcome.BAD_ADDRESS, "no device token")
        body = orjson.dumps(apns_payload(message), default=str)
        if len(body) > _MAX_PAYLOAD:
            return unsendable(self.name, ProviderOutcome.TOO_LARGE, f"{len(body)} bytes, APNs takes {_MAX_PAYLOAD}")
        now = time.time()
        varying = apns_headers(message, int(now * 1000))
        headers = {
            "apns-topic": message.app or self._topic,
            "apns-push-type": "alert",
            "apns-priority": varying.pop("apns-priority"),
        }
        # Every attempt of a delivery has the same `apns-id` for one device.
        varying["apns-id"] = str(uuid5(_NAMESPACE, f"{message.delivery_id} {message.to}"))
        varying["authorization"] = f"bearer {self._token(now)}"
        response = await self._http.post(f"/3/device/{message.to}", headers, varying, body)
        result = apns_result(response, varying["apns-id"])
        if result.code in _TOKEN_REASONS:
            self._tokens.refused(time.time())
        if message.app is not None and result.code in _TOPIC_REASONS:
            return msgspec.structs.replace(result, outcome=ProviderOutcome.REJECTED)
        return result

    def _loaded(self, config: ProviderConfig) -> ProviderTokens:
        tokens = ProviderTokens.of(config)
        if tokens.key_id == self._tokens.key_id and tokens.public != self._tokens.public:
            raise BadCredential(
                "providers.apns_key is another key, and Apple gives each key an id of its own: replace the file of apns_key_id, too "
                "(apns_key_id_file), or restart the workers with the new id"
            )
        return tokens

    def _token(self, now: float) -> str:
        """The provider token.

        A new one begins new connections: one takes no other token for 20 minutes (TooManyProviderTokenUpdates).
        """
        token = self._tokens.token(now)
        if self._sent is not None and token is not self._sent:
            self._http.leave_connections()
        self._sent = token
        return token

    def _use(self, tokens: ProviderTokens) -> None:
        """A connection stays with the key of its first push (UnrelatedKeyIdInToken)."""
        self._tokens = tokens
        self._http.leave_connections()
        self._sent = None


class ProviderTokens:
    """The signed tokens that authenticate us, each used for 50 minutes."""

    def __init__(self, team_id: str, key_id: str, key: Es256Key) -> None:
        self._team_id = team_id
        self.key_id = key_id
        self.public = key.public_point()
        self._key = key
        self._token: str | None = None
        self._issued_at = 0.0

    @classmethod
    def of(cls, config: ProviderConfig) -> ProviderTokens:
        """Those of the configured key.

        Raises:
            BadCredential: a setting of APNs is missing, or the key is not one.
        """
        if config.apns_topic and not _TOPIC.fullmatch(config.apns_topic):
            raise BadCredential("providers.apns_topic must be the app's bundle id, as org.example.app")
        needed = (config.apns, config.apns_team_id, config.apns_key_id, config.apns_key, config.apns_topic)
        if not all(needed):
            raise BadCredential("for APNs set providers.apns, apns_team_id, apns_key_id, apns_key_file and apns_topic")
        assert config.apns_team_id and config.apns_key_id and config.apns_key
        try:
            key = Es256Key(config.apns_key.reveal())
        except ValueError as error:
            raise BadCredential(
                f"providers.apns_key: {error}; use the .p8 file that Apple gave for the key id"
            ) from None
        return cls(config.apns_team_id, config.apns_key_id.reveal(), key)

    def token(self, now: float) -> str:
        """The token at `now` (seconds since 1970)."""
        # A clock that was set back a little makes no second token: APNs would take none of its calls for 20 minutes.
        if self._token is None or not -_RENEWABLE_AFTER_S < now - self._issued_at < _RENEW_AFTER_S:
            self._issued_at = now
            self._token = self._key.sign({"kid": self.key_id}, {"iss": self._team_id, "iat": int(now)})
        return self._token

    def refused(self, now: float) -> None:
        """APNs refused the token: the next call renews it, but not within 20 minutes."""
        if abs(now - self._issued_at) >= _RENEWABLE_AFTER_S:
            self._token = None


def apns_payload(message: Outgoing) -> dict[str, Any]:
    """The body: `aps`, and beside it data and delivery metadata. The router refuses data with those names."""
    alert = {"body": message.body}
    if message.title is not None:
        alert["title"] = message.title
    return {**(message.data or {}), **delivery_metadata(message), "aps": {"alert": alert}}


def apns_result(response: HttpResponse | NoResponse, apns_id: str) -> ProviderResult:
    """The result that a response stands for. A reason that the table does not have is retried."""
    if isinstance(response, NoResponse):
        return no_response_result(Apns.name, response)
    status = response.status
    if status == 200:
        return ProviderResult(
            outcome=ProviderOutcome.ACCEPTED, provider=Apns.name, provider_id=apns_id, detail=f"HTTP {status}"
        )
    found = response.json_object().get("reason")
    # A reason is a word. Other text may contain a contact.
    reason = found if isinstance(found, str) and _REASON.fullmatch(found) else None
    if reason is None and status in _STATUSES:
        return ProviderResult(outcome=_STATUSES[status], provider=Apns.name, detail=f"HTTP {status}", code=str(status))
    result = error_result(Apns.name, response, reason, REASONS)
    return msgspec.structs.replace(result, one_server=True) if result.code == _ABOUT_DEVICE else result
