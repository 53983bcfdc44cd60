"""Calls of one AWS service, each one request: never repeated, never begun late.

aiobotocore finds the credentials, builds and signs the requests and parses the responses. `HttpClient` sends them, as those of the other
providers, because it knows whether a request was begun.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

import msgspec

from notify_streams import tasks
from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.credential_files import CredentialFiles
from notify_streams.delivery.providers.http_client import HttpClient
from notify_streams.delivery.providers.http_responses import NoResponse
from notify_streams.errors import SettingsError

#: Temporary credentials are looked at so often; botocore renews them 15 minutes before they expire.
_RENEW_EVERY_S: Final = 60.0
#: A call whose credentials took longer is not made: the checks before it would be too old.
_AT_ONCE_S: Final = 0.02
#: fields of `ProviderConfig`
_KEYS: Final = ("aws_access_key_id", "aws_secret_access_key")
_CODE: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


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
    instance. Its temporary ones are renewed ahead.
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
        self._renewing: asyncio.Task[None] | None = None
        self._files = CredentialFiles(name, config, _KEYS, lambda new: new, self._use)

    async def start(self) -> None:
        """Find the credentials, which may take a call to the instance; then open connections in the background.

        Raises:
            SettingsError: there are no credentials.
            OSError: `ca_file` cannot be read.
        """
        from notify_streams.delivery.providers.aws_transport import client_config

        config = self._config
        session = await aws_session(self._name, config)
        self._credentials = await session.get_credentials()
        self._client = await self._opened.enter_async_context(
            session.create_client(
                self._service,
                region_name=config.aws_region,
                endpoint_url=config.aws_endpoint,
                config=client_config(self._http),
            )
        )
        if config.aws_access_key_id is None:
            self._renewing = asyncio.create_task(self._renew_ahead())
        await self._files.start()
        await self._http.start(self._client.meta.endpoint_url)

    async def close(self) -> None:
        """End the calls in progress with `NoResponse`."""
        await self._files.close()
        await tasks.stop([self._renewing])
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
        if self._renewing is None:
            return None
        loop = asyncio.get_running_loop()
        began = loop.time()
        failure = await self._renew(self._config.start_within_s)
        if failure is None and loop.time() - began > _AT_ONCE_S:
            failure = "CredentialsRenewed"
        return None if failure is None else NoResponse(failure, begun=False)

    async def _renew(self, within_s: float) -> str | None:
        """Renew the credentials if it is time; the type of the error if that failed."""
        try:
            async with asyncio.timeout(within_s):
                await self._credentials.get_frozen_credentials()
        except Exception as error:  # of any type: botocore's sources check little of what they are given
            return type(error).__name__
        return None

    async def _renew_ahead(self) -> None:
        while True:
            await self._renew(_RENEW_EVERY_S)
            await asyncio.sleep(_RENEW_EVERY_S)

    def _use(self, config: ProviderConfig) -> None:
        """Sign with a new access key."""
        if config.aws_access_key_id is not None and config.aws_secret_access_key is not None:
            self._credentials.access_key = config.aws_access_key_id.reveal()
            self._credentials.secret_key = config.aws_secret_access_key.reveal()


async def aws_session(name: str, config: ProviderConfig) -> Any:
    """A session of aiobotocore that has credentials: those of `config`, or of botocore's chain.

    Raises:
        SettingsError: there are none.
    """
    # Loading botocore takes 0.4 s, which workers that do not call AWS save.
    from aiobotocore.session import get_session
    from botocore.exceptions import BotoCoreError, ClientError

    session: Any = get_session()
    if config.aws_access_key_id is not None and config.aws_secret_access_key is not None:
        session.set_credentials(config.aws_access_key_id.reveal(), config.aws_secret_access_key.reveal())
    reason = ""
    try:
        found = await session.get_credentials()
    except (BotoCoreError, ClientError, OSError) as error:
        found, reason = None, f" ({type(error).__name__})"
    if found is None:
        raise SettingsError(
            f"there are no AWS credentials for {name}{reason}: set providers.aws_access_key_id and "
            "providers.aws_secret_access_key, or give this machine a role"
        )
    return session


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
