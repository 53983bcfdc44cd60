"""Servers that check credentials as FCM, its token endpoint and Twilio do."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import BasicAuth, ClientSession, web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ACCOUNT = "sender@the-project.iam.gserviceaccount.com"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
#: google-auth names Google's endpoint in each assertion, whatever the key's `token_uri` is.
AUDIENCE = "https://oauth2.googleapis.com/token"
TWILIO_SID = "AC" + "0" * 32


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class StrictProviders:
    """FCM and Twilio behind one TLS port. A test changes the fields while it runs."""

    key: rsa.RSAPrivateKey
    #: the address of a sandbox that gets the messages with a valid credential and answers them; None: they are accepted here
    sandbox: str | None = None
    port: int = 0
    project: str = "the-project"
    #: of the tokens that are issued next (s)
    expires_in: float = 3600
    #: the token endpoint answers after this time (s)
    delay_s: float = 0.0
    valid_tokens: set[str] = field(default_factory=set)
    issued: int = 0
    refused: int = 0
    #: token requests under way, and the most at one time
    renewals: int = 0
    most_renewals: int = 0
    twilio_login: tuple[str, str] = (TWILIO_SID, "right-token")
    twilio_status: str = "active"
    #: the answer to every call to FCM instead of its own
    fcm_error: tuple[int, dict[str, Any]] | None = None
    pushes: list[dict[str, Any]] = field(default_factory=list)
    texts: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def service_account(self, key: rsa.RSAPrivateKey | None = None, **but: Any) -> str:
        """A key file; with another `key` one that the token endpoint refuses."""
        pem = (key or self.key).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        content = {
            "type": "service_account",
            "project_id": self.project,
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": ACCOUNT,
            "token_uri": f"{self.url}/token",
        }
        return json.dumps(content | but)

    async def token(self, request: web.Request) -> web.Response:
        self.renewals += 1
        self.most_renewals = max(self.most_renewals, self.renewals)
        try:
            await asyncio.sleep(self.delay_s)
            form = await request.post()
            assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
            if not self._is_signed(str(form["assertion"])):
                self.refused += 1
                return web.json_response(
                    {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, status=400
                )
        finally:
            self.renewals -= 1
        self.issued += 1
        token = f"ya29.token-{self.issued}"
        self.valid_tokens.add(token)
        return web.json_response({"access_token": token, "expires_in": self.expires_in, "token_type": "Bearer"})

    def _is_signed(self, assertion: str) -> bool:
        head, claims, signature = assertion.split(".")
        try:
            self.key.public_key().verify(
                _decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature:
            return False
        said, now = json.loads(_decoded(claims)), time.time()
        assert json.loads(_decoded(head))["alg"] == "RS256"
        assert (said["iss"], said["aud"], said["scope"]) == (ACCOUNT, AUDIENCE, SCOPE)
        assert said["iat"] - 60 < now < said["exp"] <= said["iat"] + 3600
        return True

    async def push(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.valid_tokens:
            return _google(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if self.fcm_error is not None:
            status, body = self.fcm_error
            return web.json_response(body, status=status)
        if request.match_info["project"] != self.project:
            return _google(403, "PERMISSION_DENIED", "denied on resource")
        content = await request.json()
        if content.get("validate_only"):
            return _google(400, "INVALID_ARGUMENT", "The registration token is not a valid FCM registration token")
        self.pushes.append(content["message"])
        if self.sandbox is not None:
            return await self._passed_on(request)
        return web.json_response({"name": f"projects/{self.project}/messages/{len(self.pushes)}"})

    async def sms(self, request: web.Request) -> web.Response:
        if not self._is_logged_in(request):
            return web.json_response({"code": 20003, "message": "Authenticate", "status": 401}, status=401)
        self.texts.append({name: str(value) for name, value in (await request.post()).items()})
        if self.sandbox is not None:
            return await self._passed_on(request)
        return web.json_response({"sid": f"SM{len(self.texts)}", "status": "queued"}, status=201)

    async def account(self, request: web.Request) -> web.Response:
        if not self._is_logged_in(request):
            return web.json_response({"code": 20003, "message": "Authenticate", "status": 401}, status=401)
        if not self.twilio_login[0].startswith("AC"):  # a standard API key
            return web.json_response({"code": 20003, "message": "Authenticate", "status": 401}, status=401)
        return web.json_response({"sid": TWILIO_SID, "status": self.twilio_status})

    async def numbers(self, request: web.Request) -> web.Response:
        if not self._is_logged_in(request):
            return web.json_response({"code": 20003, "message": "Authenticate", "status": 401}, status=401)
        return web.json_response({"incoming_phone_numbers": []})

    async def _passed_on(self, request: web.Request) -> web.Response:
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type")}
        url, body = f"{self.sandbox}{request.path_qs}", await request.read()
        async with ClientSession() as http, http.post(url, data=body, headers=headers) as response:
            return web.json_response(await response.json(), status=response.status)

    def _is_logged_in(self, request: web.Request) -> bool:
        try:
            login = BasicAuth.decode(request.headers.get("Authorization", ""))
        except ValueError:
            return False
        return (login.login, login.password) == self.twilio_login and request.match_info["sid"] == TWILIO_SID


@asynccontextmanager
async def strict_providers(
    key: rsa.RSAPrivateKey, certificate: Path, sandbox: str | None = None
) -> AsyncIterator[StrictProviders]:
    state = StrictProviders(key, sandbox)
    app = web.Application()
    app.router.add_post("/token", state.token)
    app.router.add_post("/v1/projects/{project}/messages:send", state.push)
    app.router.add_post("/2010-04-01/Accounts/{sid}/Messages.json", state.sms)
    app.router.add_get("/2010-04-01/Accounts/{sid}.json", state.account)
    app.router.add_get("/2010-04-01/Accounts/{sid}/IncomingPhoneNumbers.json", state.numbers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    state.port = runner.addresses[0][1]
    try:
        yield state
    finally:
        await runner.cleanup()


def _decoded(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error as error:
        raise AssertionError("not base64url") from error


def _google(status: int, word: str, text: str) -> web.Response:
    return web.json_response({"error": {"code": status, "message": text, "status": word}}, status=status)
