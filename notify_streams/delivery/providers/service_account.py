"""Access tokens of a Google service account, renewed ahead of their expiry.

The key signs an assertion (RFC 7523), for which the token endpoint that the key names gives a token of about an hour.
Source: https://developers.google.com/identity/protocols/oauth2/service-account
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any, Final
from urllib.parse import urlsplit

from google.auth.exceptions import RefreshError
from google.oauth2.service_account import Credentials

from notify_streams import addresses, tasks
from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.credential_files import CredentialFiles
from notify_streams.delivery.providers.http.authorities import Authorities
from notify_streams.errors import RetryLater
from notify_streams.followed_files import BadCredential
from notify_streams.retry import RetryPolicy

#: The only scope that FCM needs.
_SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
#: The characters of a project id, which is a part of FCM's URL.
_PROJECT: Final = re.compile(r"[a-z0-9][a-z0-9.:-]{0,99}")
#: RFC 6750: the characters of a token.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
#: The form of the error codes of RFC 6749 §5.2; other text of the endpoint is not shown.
_CODE: Final = re.compile(r"[a-z_]{1,40}")
#: Limit of each wait for the endpoint; `timeout_s` limits a renewal. google-auth repeats the request if the endpoint is overloaded.
_TIMEOUT_S: Final = 5.0
_MAX_BYTES: Final = 64 * 1024
#: A token is renewed so long before it expires, but not before half of its life.
_AHEAD_S: Final = 300.0
#: A token is not used in the last part of its life: the clocks differ, and a call takes time.
_MARGIN_S: Final = 10.0
#: Of a token whose life the endpoint does not say.
_SHORTEST_LIFE_S: Final = 60.0
_RETRY: Final = RetryPolicy("fcm.token", first_s=0.5, max_s=30.0)


class NoToken(RetryLater):
    """The token endpoint gave none; the message says why, without its text."""


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A key that can sign. Only one thread uses it at a time."""

    project: str
    #: host and port of the token endpoint
    endpoint: str
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class AccountToken:
    """A token and its times (monotonic, s)."""

    text: str
    received_at: float
    renew_at: float
    unusable_at: float


class ServiceAccountToken:
    """An `AccessToken`. A call takes no time while the token is valid; else it waits for the renewal that is under way.

    A task renews the token in a thread, one renewal at a time, whether there are calls or not. It follows the file of the key.
    """

    def __init__(self, config: ProviderConfig) -> None:
        """`config` has a key.

        Raises:
            BadCredential: it cannot work.
        """
        self._account = account_of(config)
        self._authorities = Authorities(config.ca_file, config.credential_check_s)
        self._check_s = config.credential_check_s
        self._timeout_s = config.timeout_s
        #: the request that is under way
        self._asking: asyncio.Future[AccountToken] | None = None
        self._files = CredentialFiles("fcm", config, ("fcm_service_account",), self._load, self._replace_account)
        self._token: AccountToken | None = None
        #: why the last renewal failed
        self._failure: NoToken | None = None
        self._renewed = asyncio.Event()
        self._renew_now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def project(self) -> str:
        return self._account.project

    async def start(self) -> None:
        """Begin to renew. Waits for no token.

        Raises:
            OSError: `ca_file` cannot be read or has no certificate.
        """
        await self._authorities.start()
        self._task = asyncio.create_task(self._keep_valid())
        await self._files.start()

    async def close(self) -> None:
        await self._files.close()
        await self._authorities.close()
        await tasks.stop([self._task])

    async def __call__(self) -> str:
        """A token that is valid for some seconds.

        Raises:
            NoToken: there is none, and the last renewal failed.
        """
        while (token := self._token) is None or time.monotonic() >= token.unusable_at:
            if self._failure is not None:
                raise self._failure
            self._renewed.clear()
            await self._renewed.wait()
        return token.text

    def refused(self) -> None:
        """FCM did not take the token: it was revoked, or another one is valid."""
        token = self._token
        if token is not None and time.monotonic() - token.received_at >= self._check_s:
            self._renew_now.set()

    async def _keep_valid(self) -> None:
        attempts = replace(_RETRY, sleep=self._pause).attempts()
        while True:
            try:
                self._token = await self._request()
            except NoToken as error:
                self._failure = error
                self._renewed.set()
                await attempts.failed(error)
            else:
                self._failure = None
                self._renewed.set()
                attempts.succeeded()
                await self._pause(self._token.renew_at - time.monotonic())

    async def _request(self) -> AccountToken:
        """A new token, or that of a request which an earlier call gave up."""
        if self._asking is None:
            self._asking = tasks.in_thread(request_token, self._account, self._authorities.context)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(self._asking)
        except TimeoutError:
            raise NoToken(f"{self._account.endpoint} does not respond in time") from None
        finally:
            if self._asking.done():
                self._asking = None

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until the token must be renewed now."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._renew_now.wait()
        self._renew_now.clear()

    def _load(self, config: ProviderConfig) -> ServiceAccount:
        account = account_of(config)
        if account.project != self.project:
            raise BadCredential(
                "providers.fcm_service_account is of another project: restart the workers to change the project"
            )
        return account

    def _replace_account(self, account: ServiceAccount) -> None:
        self._account = account
        self._renew_now.set()


def account_of(config: ProviderConfig) -> ServiceAccount:
    """The account of the JSON key.

    Raises:
        BadCredential: it is none.
    """
    key = config.fcm_service_account
    try:
        content = json.loads(key.reveal() if key is not None else "")
    except ValueError:
        raise BadCredential(
            "providers.fcm_service_account is not JSON: give the key file of a service account"
        ) from None
    if not isinstance(content, dict) or content.get("type") != "service_account":
        raise BadCredential("providers.fcm_service_account is no key of a service account (type service_account)")
    project, endpoint = content.get("project_id"), content.get("token_uri")
    if not isinstance(project, str) or not _PROJECT.fullmatch(project):
        raise BadCredential("providers.fcm_service_account names no project (project_id)")
    if not isinstance(endpoint, str) or not (
        addresses.HTTP.accepts(endpoint) and (endpoint.startswith("https:") or addresses.is_loopback(endpoint))
    ):
        raise BadCredential("providers.fcm_service_account names no https:// address of a token endpoint (token_uri)")
    try:
        credentials = Credentials.from_service_account_info(content, scopes=[_SCOPE])
    except Exception as error:  # of many types: of the JSON's shape, of PEM, of the key's mathematics
        reason = type(error).__name__
        raise BadCredential(f"providers.fcm_service_account has no usable private key or account ({reason})") from None
    return ServiceAccount(project, urlsplit(endpoint).netloc, credentials)


def request_token(account: ServiceAccount, context: ssl.SSLContext) -> AccountToken:
    """A new token. Blocks for some seconds, or longer if the endpoint has many addresses or sends slowly.

    Raises:
        NoToken: the endpoint does not respond, or refuses the key.
    """
    asked_at, credentials = time.monotonic(), account.credentials
    try:
        credentials.refresh(_Request(account.endpoint, context, asked_at + _TIMEOUT_S))
    except NoToken:
        raise
    except RefreshError as error:
        raise NoToken(_refusal(account.endpoint, error)) from None
    except Exception as error:  # google-auth checks no type in an answer
        raise NoToken(f"{account.endpoint} answers without a token ({type(error).__name__})") from None
    text, expiry = credentials.token, credentials.expiry
    if not isinstance(text, str) or not _TOKEN.fullmatch(text):
        raise NoToken(f"{account.endpoint} answers with a token that is not one")
    # google-auth computes the time of expiry from the wall clock, in UTC without a zone.
    life_s = _SHORTEST_LIFE_S if expiry is None else expiry.replace(tzinfo=UTC).timestamp() - time.time()
    if life_s <= 0.0:
        raise NoToken(f"{account.endpoint} answers with a token that has expired")
    return AccountToken(
        text,
        asked_at,
        asked_at + max(life_s - _AHEAD_S, life_s / 2),
        asked_at + max(life_s - _MARGIN_S, life_s * 0.8),
    )


def _refusal(endpoint: str, error: RefreshError) -> str:
    """The sentence for an error reply of the token endpoint."""
    reply = error.args[1] if len(error.args) > 1 else None
    code = reply.get("error") if isinstance(reply, dict) else None
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        return f"{endpoint} answers without a token"
    if code == "invalid_grant":
        return (
            f"{endpoint} refuses the key of providers.fcm_service_account (invalid_grant): the key was deleted, or this machine's clock "
            "is wrong; create a new key for the service account"
        )
    return f"{endpoint} refuses the request for a token ({code}): check the key in providers.fcm_service_account"


@dataclass(frozen=True, slots=True)
class _Response:
    """What google-auth reads of a response."""

    status: int
    headers: Mapping[str, str]
    data: bytes


@dataclass(frozen=True, slots=True)
class _Request:
    """A transport of google-auth over the standard library: no proxy, no redirect, a limit for all requests together."""

    endpoint: str
    context: ssl.SSLContext
    deadline: float

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> _Response:
        left_s = self.deadline - time.monotonic()
        if left_s <= 0:
            raise NoToken(f"{self.endpoint} is overloaded")
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        connection = (
            http.client.HTTPSConnection(host, port, timeout=left_s, context=self.context)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=left_s)
        )
        try:
            connection.request(method, parts.path or "/", body, dict(headers or {}))
            response = connection.getresponse()
            return _Response(response.status, dict(response.getheaders()), response.read(_MAX_BYTES))
        except ssl.SSLCertVerificationError as error:
            raise NoToken(
                f"the certificate of {self.endpoint} is not accepted ({error.verify_message}): set providers.ca_file to the "
                "authority that signed it"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise NoToken(f"{self.endpoint} does not respond ({type(error).__name__})") from None
        finally:
            connection.close()
