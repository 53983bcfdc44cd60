"""Gets OAuth access tokens for Kafka: client credentials grant.

Source: RFC 6749, sections 2.3.1 and 4.4.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_plus, urlsplit

import aiohttp
import msgspec
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from notify_streams.response_body import read_response
from notify_streams.security import TlsSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from notify_streams.security import OAuthSettings

_TIMEOUT: Final = aiohttp.ClientTimeout(total=5.0)
_MAX_BYTES: Final = 64 * 1024
#: A token is renewed after this part of its life.
_USED_PART: Final = 0.8
#: RFC 6750: the characters of a token.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_SINCE_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def since_boot() -> float:
    """Seconds, also those while the machine was suspended.

    The life of a token goes on then; the monotonic clock does not.
    """
    return time.clock_gettime(_SINCE_BOOT)


class NoToken(KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """The token endpoint gave none; the message says why. aiokafka connects again later."""

    retriable = True


class _Answer(msgspec.Struct):
    access_token: str
    expires_in: float = 60.0


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """One token for all clients, from any event loop. Two that connect at once may both ask for a new one."""

    def __init__(self, settings: OAuthSettings, now: Callable[[], float] = since_boot) -> None:
        self._now = now
        self._settings = settings
        self._tls = TlsSettings(settings.ca_file).context()
        self._token = ""
        self._renew_at = 0.0

    async def token(self) -> str:
        """A token that has not expired.

        Raises:
            NoToken: the endpoint does not respond, or refuses the client.
        """
        if self._now() >= self._renew_at:
            asked_at = self._now()
            answer = await self._ask()
            self._token, self._renew_at = answer.access_token, asked_at + answer.expires_in * _USED_PART
        return self._token

    async def _ask(self) -> _Answer:
        settings = self._settings
        endpoint = urlsplit(settings.token_url).netloc
        form = {"grant_type": "client_credentials"} | ({"scope": settings.scope} if settings.scope else {})
        login, password = quote_plus(settings.client_id), quote_plus(settings.client_secret.reveal())
        headers = {"Authorization": aiohttp.encode_basic_auth(login, password)}
        try:
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT) as session,
                session.post(
                    settings.token_url, data=form, headers=headers, ssl=self._tls, allow_redirects=False
                ) as response,
            ):
                if response.status != 200:
                    raise NoToken(f"{endpoint} refuses the client id or secret (status {response.status})")
                answer = msgspec.json.decode(await read_response(response, _MAX_BYTES), type=_Answer)
        except aiohttp.ClientConnectorCertificateError as error:
            raise NoToken(f"the certificate of {endpoint} is not accepted: {_certificate_problem(error)}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise NoToken(f"{endpoint} does not respond ({type(error).__name__})") from None
        except msgspec.MsgspecError:
            raise NoToken(f"{endpoint} answers without a token") from None
        if not _TOKEN.fullmatch(answer.access_token):
            raise NoToken(f"{endpoint} answers with a token that is not one") from None
        return answer


def _certificate_problem(error: aiohttp.ClientConnectorCertificateError) -> str:
    return getattr(error.certificate_error, "verify_message", "") or type(error.certificate_error).__name__
