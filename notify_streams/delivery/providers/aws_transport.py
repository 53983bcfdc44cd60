"""Lets aiobotocore send its requests by our HTTP client."""

from __future__ import annotations

from typing import Any, Final

from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.config import AioConfig

from notify_streams.delivery.providers.http_client import HttpClient
from notify_streams.delivery.providers.http_responses import NoResponse

#: Headers that `HttpClient` sets. None of them is part of the signature.
_OWN: Final = frozenset({"content-length", "user-agent"})


class NotAnswered(Exception):
    """There is no response: a network error or a timeout."""

    def __init__(self, response: NoResponse) -> None:
        super().__init__(response.error)
        self.response = response


def client_config(http: HttpClient) -> AioConfig:
    """For a client that sends each request once, by `http`, whose time limits and connections hold, to the address that the settings name."""
    return AioConfig(
        http_session_cls=lambda **_: _Session(http),
        retries={"mode": "standard", "total_max_attempts": 1},
        ignore_configured_endpoint_urls=True,
    )


class _Session:
    """What an aiobotocore client sends requests with. Its owner closes `http`."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def __aenter__(self) -> _Session:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held."""

    async def close(self) -> None:
        """Nothing is held."""

    async def send(self, request: Any) -> AioAWSResponse:
        """Send one request.

        Raises:
            NotAnswered: there is no response.
        """
        headers = {name: _text(value) for name, value in request.headers.items() if name.lower() not in _OWN}
        body = request.body or b""
        response = await self._http.post(request.url, headers, body.encode() if isinstance(body, str) else body)
        if isinstance(response, NoResponse):
            raise NotAnswered(response)
        received = dict(response.headers)
        if response.retry_after_s is not None:
            received["retry-after"] = str(response.retry_after_s)
        return AioAWSResponse(request.url, response.status, received, _Body(response.body))


class _Body:
    """A body that was received."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self) -> bytes:
        return self._content


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
