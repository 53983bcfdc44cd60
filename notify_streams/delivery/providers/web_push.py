"""Push by the push services of browsers.

Sources: RFC 8030 (protocol), RFC 8291 (encryption), RFC 8292 (VAPID). The contact is the subscription that a browser gave
(`records/push_subscription.py`); its endpoint names the push service. The service worker receives
``{"notification": {"title", "body"}, "data": {…}}``, with the delivery metadata in `data`.
"""

from __future__ import annotations

import re
import time
from typing import Any, Final
from urllib.parse import urlsplit

import http_ece
import msgspec
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from notify_streams.delivery.providers.call_limit import CallLimit
from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.credential_files import CredentialFiles
from notify_streams.delivery.providers.delivery_metadata import delivery_metadata
from notify_streams.delivery.providers.es256 import Es256Key
from notify_streams.delivery.providers.http.dialing import PrivateAddress
from notify_streams.delivery.providers.http.name_lookups import NameLookups
from notify_streams.delivery.providers.http_client import HttpClient
from notify_streams.delivery.providers.http_responses import HttpResponse, NoResponse, error_result, no_response_result
from notify_streams.delivery.providers.provider import Outgoing, ProviderOutcome, ProviderResult, unsendable
from notify_streams.delivery.providers.push_headers import MAX_WEB_PUSH_TTL_S, web_push_headers
from notify_streams.followed_files import BadCredential
from notify_streams.records.push_subscription import PushSubscription, push_subscription

#: A push service must take a body of 4,096 bytes (RFC 8030, section 7.2), of which 103 are not content (RFC 8291, section 4).
_MAX_CONTENT: Final = 4096 - 103
#: A token is used for an hour; it is valid for two, of at most 24 (RFC 8292, section 2).
_TOKEN_USED_S: Final = 3600
_TOKEN_VALID_S: Final = 2 * 3600
_MAX_TOKENS: Final = 256
_MAX_SERVERS: Final = 64
#: push services whose last failures are kept
_MAX_LIMITS: Final = 256
#: Apple's push service takes no host that cannot be on the Internet: it refuses each call (403 BadJwtToken), which others take
#: (https://developer.apple.com/documentation/usernotifications/sending-web-push-notifications-in-web-apps-and-browsers).
_SUBJECT: Final = re.compile(r"(?:mailto:[!-~]+@|https://)(?P<host>[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)(?:[/:?#][!-~]*)?")
_NO_HOSTS: Final = frozenset({"invalid", "localhost"})
_RETRY: Final = ProviderOutcome.RETRY
_TOO_MANY: Final = frozenset({406, 429})
#: By status: what the delivery does next; push services name no further codes that all of them have. 400: RFC 8030, section 5;
#: 404, 410: section 7.3; 413: section 7.2; 429: section 8.4; 401, 403, which are about our key: RFC 8292, section 4.2; 406:
#: Windows' service says so that it is asked too often (web-push-libs/web-push-csharp#93); the others: RFC 9110, section 15.
STATUSES: Final = {
    "400": ProviderOutcome.REJECTED,
    "401": _RETRY,
    "403": _RETRY,
    "404": ProviderOutcome.DEAD_TOKEN,
    "406": _RETRY,
    "408": _RETRY,
    "410": ProviderOutcome.DEAD_TOKEN,
    "413": ProviderOutcome.TOO_LARGE,
    "429": _RETRY,
    "500": _RETRY,
    "502": _RETRY,
    "503": _RETRY,
    "504": _RETRY,
}


class WebPush:
    """See `Provider`. A subscription that the push service does not know any more is DEAD_TOKEN. There is no `provider_id`.

    An endpoint comes from outside: a host with a private address is never connected to, unless `web_push_private_hosts` is set, and
    a push service that fails or asks to wait stops the calls to itself alone.
    """

    name = "web_push"

    def __init__(self, config: ProviderConfig) -> None:
        """Raises:
        BadCredential: one is missing, or cannot work.
        """
        self.max_in_flight = config.max_in_flight
        self._tokens = VapidTokens.of(config)
        self._files = CredentialFiles(self.name, config, ("web_push_key",), VapidTokens.of, self._use)
        #: by origin; the last one was used last
        self._limits: dict[str, CallLimit] = {}
        self._http = HttpClient(
            config,
            max_servers=_MAX_SERVERS,
            public_only=not config.web_push_private_hosts,
            lookups=NameLookups(),
        )

    async def start(self) -> None:
        await self._http.start()
        await self._files.start()

    async def close(self) -> None:
        await self._files.close()
        await self._http.close()

    async def send(self, message: Outgoing) -> ProviderResult:
        subscription = push_subscription(message.to)
        if subscription is None:
            return unsendable(self.name, ProviderOutcome.BAD_ADDRESS, "no subscription")
        content = orjson.dumps(web_push_content(message), default=str)
        if len(content) > _MAX_CONTENT:
            return unsendable(
                self.name, ProviderOutcome.TOO_LARGE, f"{len(content)} bytes, push services take {_MAX_CONTENT}"
            )
        try:
            body = encrypted(content, subscription)
        except ValueError:
            return unsendable(self.name, ProviderOutcome.BAD_ADDRESS, "the subscription's key is no point of the curve")
        now = time.time()
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "aes128gcm",
            # Required; without an expiry it is four weeks.
            "TTL": str(MAX_WEB_PUSH_TTL_S),
            **web_push_headers(message, int(now * 1000)),
            "Authorization": self._tokens.authorization(subscription.endpoint, now),
        }
        limit = self._limit(_origin(subscription.endpoint))
        result = limit.refusal() or await limit.counted(self._post(subscription.endpoint, headers, body))
        if result.outcome is not ProviderOutcome.RETRY:
            return result
        return msgspec.structs.replace(result, one_server=True)

    async def _post(self, endpoint: str, headers: dict[str, str], body: bytes) -> ProviderResult:
        return web_push_result(await self._http.post(endpoint, headers, body))

    def _limit(self, origin: str) -> CallLimit:
        limit = self._limits.pop(origin, None) or CallLimit(self.name, self.max_in_flight)
        if len(self._limits) >= _MAX_LIMITS:
            del self._limits[next(iter(self._limits))]
        self._limits[origin] = limit
        return limit

    def _use(self, tokens: VapidTokens) -> None:
        self._tokens = tokens


class VapidTokens:
    """The values of the header Authorization, one for each push service, each used for an hour."""

    def __init__(self, key: Es256Key, subject: str) -> None:
        self._key = key
        self._subject = subject
        self._public = self._key.public_point()
        #: by origin: value, when it was made
        self._values: dict[str, tuple[str, float]] = {}

    @classmethod
    def of(cls, config: ProviderConfig) -> VapidTokens:
        """Those of the configured key.

        Raises:
            BadCredential: the key or the subject is missing, or is not one.
        """
        if not config.web_push_key or not config.web_push_subject:
            raise BadCredential("for Web Push set providers.web_push_key_file and providers.web_push_subject")
        subject = _SUBJECT.fullmatch(config.web_push_subject)
        if subject is None or subject["host"].lower().rpartition(".")[2] in _NO_HOSTS:
            raise BadCredential(
                "providers.web_push_subject must be mailto:address or an https:// URL, with a domain that the Internet knows"
            )
        try:
            key = Es256Key(config.web_push_key.reveal())
        except ValueError as error:
            raise BadCredential(
                f"providers.web_push_key: {error}; use the application server key of the subscriptions"
            ) from None
        return cls(key, config.web_push_subject)

    def authorization(self, endpoint: str, now: float) -> str:
        """The value for a push service at `now` (seconds since 1970)."""
        origin = _origin(endpoint)
        value, made_at = self._values.get(origin, ("", 0.0))
        if value and 0 <= now - made_at < _TOKEN_USED_S:
            return value
        claims = {"aud": origin, "exp": int(now) + _TOKEN_VALID_S, "sub": self._subject}
        value = f"vapid t={self._key.sign({'typ': 'JWT'}, claims)}, k={self._public}"
        self._values.pop(origin, None)
        if len(self._values) >= _MAX_TOKENS:
            del self._values[next(iter(self._values))]
        self._values[origin] = value, now
        return value


def _origin(endpoint: str) -> str:
    """The origin of an https:// URL (RFC 6454, section 6.1): without the default port."""
    parts = urlsplit(endpoint)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"https://{host}" if parts.port in (None, 443) else f"https://{host}:{parts.port}"


def encrypted(content: bytes, subscription: PushSubscription) -> bytes:
    """The body: one record, encrypted with a key of its own (RFC 8291, RFC 8188).

    Raises:
        ValueError: the subscription's key is no point of the curve.
    """
    body: bytes = http_ece.encrypt(
        content,
        private_key=generate_private_key(SECP256R1()),
        dh=subscription.p256dh,
        auth_secret=subscription.auth,
        version="aes128gcm",
    )
    return body


def web_push_content(message: Outgoing) -> dict[str, Any]:
    """What the service worker receives. The router refuses data with the names of the delivery metadata."""
    notification = {"body": message.body}
    if message.title is not None:
        notification["title"] = message.title
    return {"notification": notification, "data": {**(message.data or {}), **delivery_metadata(message)}}


def web_push_result(response: HttpResponse | NoResponse) -> ProviderResult:
    """The result that a response stands for."""
    name = WebPush.name
    if isinstance(response, NoResponse):
        if response.error == PrivateAddress.__name__:
            return unsendable(name, ProviderOutcome.BAD_ADDRESS, "the endpoint has a private address")
        if response.error == UnicodeError.__name__:
            return unsendable(name, ProviderOutcome.BAD_ADDRESS, "the endpoint's host cannot be a name")
        return no_response_result(name, response)
    status = response.status
    if 200 <= status < 300:
        return ProviderResult(outcome=ProviderOutcome.ACCEPTED, provider=name, detail=f"HTTP {status}")
    # An endpoint comes from outside: what one push service says of our key is no reason to call it wrong.
    result = error_result(name, response, str(status), STATUSES)
    return msgspec.structs.replace(
        result, detail=f"HTTP {status}", credential_refused=False, throttled=status in _TOO_MANY
    )
