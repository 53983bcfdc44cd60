"""Calls of one AWS service, each one request: never repeated, never begun late.

aiobotocore finds the credentials, builds and signs the requests and parses the responses. `HttpClient` sends them, as those of the other
providers, because it knows whether a request was begun.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

import msgspec

from notify_streams import tasks
from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.credential_files import CredentialFiles
from notify_streams.delivery.providers.http_client import HttpClient
from notify_streams.delivery.providers.http_responses import NoResponse
from notify_streams.errors import RetryLater, SettingsError
from notify_streams.retry import RetryPolicy

#: A source of credentials that does not answer delays the start by at most this time.
_FIND_S: Final = 2.0
#: One attempt to find credentials: botocore has sources with longer limits.
_FIND_ATTEMPT_S: Final = 20.0
_FIND: Final = RetryPolicy("aws.credentials", first_s=1.0, max_s=30.0)
#: Temporary credentials are looked at so often; botocore renews them 15 minutes before they expire.
_RENEW_EVERY_S: Final = 60.0
#: A call whose credentials took longer is not made: the checks before it would be too old.
_AT_ONCE_S: Final = 0.02
#: fields of `ProviderConfig`
_KEYS: Final = ("aws_access_key_id", "aws_secret_access_key")
_CODE: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


class NoCredentials(RetryLater):
    """There are no AWS credentials, or their source does not answer. The message says what to set."""


class WithoutCredentials(NoResponse, frozen=True):
    """No call was made, because there are no valid credentials."""


class AwsRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """An error response."""

    status: int
    #: "MessageRejected"; the status if the response has no code
    code: str
    #: may name a contact: goes into no log and no result
    message: str
    retry_after_s: float | None = None


class AwsClient:
    """At most `max_in_flight` connections to `service` in the region of `config`, or at its `aws_endpoint`.

    Without an access key in `config`, the credentials are those of botocore's chain: environment, profile, web identity, container,
    instance. Its temporary ones are renewed ahead. A source that does not answer is an outage: it is asked again until it does, and calls
    end with `WithoutCredentials` meanwhile.
    """

    def __init__(self, name: str, service: str, config: ProviderConfig) -> None:
        """`name`: of the provider; `service`: as botocore names it."""
        if config.aws_region is None:
            raise SettingsError(f"providers.aws_region is missing: set it to the region of {name}, as eu-west-1")
        self._name = name
        self._service = service
        self._config = config
        self._http = HttpClient(config)
        self._opened = AsyncExitStack()
        self._client: Any = None
        #: botocore's; each request is signed with what they hold then
        self._credentials: Any = None
        self._keeping: asyncio.Task[None] | None = None
        #: set after the first attempt to find credentials
        self._asked = asyncio.Event()
        self._files = CredentialFiles(name, config, _KEYS, lambda new: new, self._use)

    async def start(self) -> None:
        """Find the credentials, which may take a call to the instance, and open connections, in the background.

        Raises:
            OSError: `ca_file` cannot be read.
        """
        await self._http.start()
        session = aws_session(self._config)
        if self._config.aws_access_key_id is not None:
            await self._open(session)
            await self._files.start()
            return
        self._keeping = asyncio.create_task(self._keep_credentials(session))
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIND_S):
                await self._asked.wait()

    async def _open(self, session: Any) -> None:
        """Create the client of a session that finds credentials, and open connections in the background.

        Raises:
            NoCredentials, OSError
        """
        from notify_streams.delivery.providers.aws_transport import client_config

        credentials = await credentials_of(self._name, session)
        client = await self._opened.enter_async_context(
            session.create_client(
                self._service,
                region_name=self._config.aws_region,
                endpoint_url=self._config.aws_endpoint,
                config=client_config(self._http),
            )
        )
        await self._http.start(client.meta.endpoint_url)
        self._client, self._credentials = client, credentials

    async def close(self) -> None:
        """End the calls in progress with `NoResponse`."""
        await self._files.close()
        await tasks.stop([self._keeping])
        await self._http.close()
        await self._opened.aclose()

    async def call(self, operation: str, parameters: Mapping[str, Any]) -> Mapping[str, Any] | AwsRefusal | NoResponse:
        """One attempt, which ends within `timeout_s`."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        from notify_streams.delivery.providers.aws_transport import NotAnswered

        end_by = asyncio.get_running_loop().time() + self._config.timeout_s
        if (no_credentials := await self._without_credentials()) is not None:
            return no_credentials
        try:
            async with asyncio.timeout_at(end_by):
                answer: Mapping[str, Any] = await getattr(self._client, operation)(**parameters)
                return answer
        except NotAnswered as error:
            return error.response
        except ClientError as error:
            return _refusal(error.response)
        except (TimeoutError, ResponseParserError) as error:
            return NoResponse(type(error).__name__, begun=True)
        except BotoCoreError as error:
            # Before the request, for example no signature without credentials.
            return NoResponse(type(error).__name__, begun=False)

    async def _without_credentials(self) -> NoResponse | None:
        """Why no call can be made now; None: the credentials are there."""
        if self._keeping is None:
            return None
        if self._client is None:
            return WithoutCredentials("no credentials", begun=False)
        loop = asyncio.get_running_loop()
        began = loop.time()
        failure = await self._renew(self._config.start_within_s)
        if failure is not None:
            return WithoutCredentials(f"no credentials: {failure}", begun=False)
        return NoResponse("CredentialsRenewed", begun=False) if loop.time() - began > _AT_ONCE_S else None

    async def _renew(self, within_s: float) -> str | None:
        """Renew the credentials if it is time; the type of the error if that failed."""
        try:
            async with asyncio.timeout(within_s):
                await self._credentials.get_frozen_credentials()
        except Exception as error:  # of any type: botocore's sources check little of what they are given
            return type(error).__name__
        return None

    async def _keep_credentials(self, session: Any) -> None:
        """Find credentials, then renew them ahead. What fails is tried again, with a metric and a log line when it begins and ends."""
        policy = _FIND.named(f"{self._name}.credentials")
        await policy.call(self._find, session)
        while True:
            await policy.call(self._renew_ahead)
            await asyncio.sleep(_RENEW_EVERY_S)

    async def _find(self, session: Any) -> None:
        try:
            async with asyncio.timeout(_FIND_ATTEMPT_S):
                await self._open(session)
        except NoCredentials:
            raise
        except (
            Exception
        ) as error:  # of any type, as in `credentials_of`; without an end of this task they are tried again
            raise NoCredentials(f"no AWS credentials for {self._name} yet ({type(error).__name__})") from error
        finally:
            self._asked.set()

    async def _renew_ahead(self) -> None:
        if (failure := await self._renew(_FIND_ATTEMPT_S)) is not None:
            raise NoCredentials(f"the credentials for {self._name} cannot be renewed ({failure})")

    def _use(self, config: ProviderConfig) -> None:
        """Sign with a new access key."""
        if config.aws_access_key_id is not None and config.aws_secret_access_key is not None:
            self._credentials.access_key = config.aws_access_key_id.reveal()
            self._credentials.secret_key = config.aws_secret_access_key.reveal()


def aws_session(config: ProviderConfig) -> Any:
    """A session of aiobotocore with the access key of `config`, or else botocore's chain."""
    # Loading botocore takes 0.4 s, which workers that do not call AWS save.
    from aiobotocore.session import get_session

    session: Any = get_session()
    if config.aws_access_key_id is not None and config.aws_secret_access_key is not None:
        session.set_credentials(config.aws_access_key_id.reveal(), config.aws_secret_access_key.reveal())
    return session


async def credentials_of(name: str, session: Any) -> Any:
    """The credentials of a session for the provider `name`.

    Raises:
        NoCredentials
    """
    try:
        if (found := await session.get_credentials()) is not None:
            return found
        reason = ""
    except Exception as error:  # of any type: botocore's sources check little of what they are given
        reason = f" ({type(error).__name__})"
    raise NoCredentials(
        f"there are no AWS credentials for {name}{reason}: set providers.aws_access_key_id and "
        "providers.aws_secret_access_key, or give this machine a role"
    )


def _refusal(response: Mapping[str, Any]) -> AwsRefusal:
    error, metadata = response.get("Error", {}), response.get("ResponseMetadata", {})
    status, code = int(metadata.get("HTTPStatusCode", 0)), str(error.get("Code", ""))
    retry_after = metadata.get("HTTPHeaders", {}).get("retry-after")
    return AwsRefusal(
        status=status,
        code=code if _CODE.fullmatch(code) else str(status),
        message=str(error.get("Message", "")),
        retry_after_s=None if retry_after is None else float(retry_after),
    )
