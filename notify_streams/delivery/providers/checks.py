"""Asks providers whether they take our credential; sends nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import aiosmtplib
import msgspec
import orjson

from notify_streams.delivery.providers.apns import Apns
from notify_streams.delivery.providers.aws_checks import check_ses, check_sns
from notify_streams.delivery.providers.check_failure import CheckFailed
from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.fcm import fcm_code, send_url
from notify_streams.delivery.providers.http.tls import tls_context, unreadable
from notify_streams.delivery.providers.provider import Outgoing
from notify_streams.delivery.providers.service_account import NoToken, account_of, request_token
from notify_streams.delivery.providers.smtp_pool import SmtpPool, with_mailbox
from notify_streams.delivery.providers.twilio import twilio_headers
from notify_streams.delivery.providers.web_push import VapidTokens
from notify_streams.followed_files import BadCredential
from notify_streams.response_body import read_response

_MAX_BYTES: Final = 256 * 1024
#: No device has it, so a server that ignores `validate_only` delivers nothing either.
_PLACEHOLDER: Final = "notify-streams-check"
_NO_DEVICE: Final = "0" * 64


async def check_fcm(config: ProviderConfig) -> str:
    """`messages:send` with `validate_only`: an answer about the placeholder token shows that the credential was taken.

    Raises:
        CheckFailed
    """
    context = _context(config)
    if config.fcm_service_account is None:
        project, token = config.fcm_project, await config.fcm_token()
    else:
        account = account_of(config)
        try:
            token = (await asyncio.to_thread(request_token, account, context)).text
        except NoToken as error:
            raise CheckFailed(str(error)) from None
        project = account.project
    body = orjson.dumps({"validate_only": True, "message": {"token": _PLACEHOLDER, "notification": {"body": "check"}}})
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    status, content = await _call("POST", send_url(config, project), headers, body, config, context)
    code = fcm_code(content)
    if status == 200 or code == "UNREGISTERED" or (status == 400 and _is_about_token(content)):
        return f"FCM takes the credential for project {project}"
    raise CheckFailed(_FCM.get(status, f"FCM answers {_answer(status, code)}").format(project=project))


_FCM: Final = {
    401: "FCM refuses the access token: check that providers.fcm_service_account is a key of project {project}",
    403: "FCM refuses the service account: enable the Firebase Cloud Messaging API in project {project}, and give the account "
    "the role Firebase Cloud Messaging API Admin",
    404: "FCM does not know project {project}: use a key of the project that the app is registered with",
    429: "FCM answers HTTP 429, the project's quota is used up: try again later, or ask for a higher quota",
}


async def check_apns(config: ProviderConfig) -> str:
    """A notification to a device token that no device has: APNs refuses the token of the device, not ours.

    Raises:
        CheckFailed
    """
    apns = Apns(msgspec.structs.replace(config, start_within_s=config.timeout_s))
    try:
        await apns.start()
        result = await apns.send(
            Outgoing(
                delivery_id=_PLACEHOLDER, notification_id=_PLACEHOLDER, channel="push", to=_NO_DEVICE, body="check"
            )
        )
    except OSError as error:
        raise CheckFailed(f"providers.ca_file cannot be read: {error.strerror or 'no certificate in it'}") from None
    finally:
        await apns.close()
    if result.code in ("BadDeviceToken", "DeviceTokenNotForTopic", "Unregistered"):
        assert config.apns_key_id is not None, "without it there is no client"
        return f"APNs takes the key {config.apns_key_id.reveal()}"
    if result.code in ("BadTopic", "TopicDisallowed"):
        raise CheckFailed(
            f"APNs refuses the topic ({result.code}): set providers.apns_topic to the bundle id of an app of the team"
        )
    if result.detail.startswith("HTTP 403"):
        raise CheckFailed(
            f"APNs refuses the key ({result.detail}): check providers.apns_team_id, apns_key_id and apns_key, and that the key is "
            "one for the environment of providers.apns"
        )
    if result.code is None and not result.detail.startswith("HTTP"):
        raise CheckFailed(f"APNs does not respond ({result.detail}): check providers.apns and the network")
    raise CheckFailed(f"APNs answers {result.detail}")


async def check_web_push(config: ProviderConfig) -> str:
    """Read the key. A push service is called for a subscription only, so that is all that can be asked.

    Raises:
        CheckFailed
    """
    try:
        VapidTokens.of(config)
    except BadCredential as error:
        raise CheckFailed(str(error)) from None
    return "the VAPID key can be used; push services take it or not with each subscription"


async def check_twilio(config: ProviderConfig) -> str:
    """Fetch the account, or with an API key, which need not have the right to do that, its list of numbers.

    Source: https://www.twilio.com/docs/iam/api-keys/keys-in-console (key types)

    Raises:
        CheckFailed
    """
    account = f"{config.twilio.rstrip('/')}/2010-04-01/Accounts/{config.twilio_account_sid}"
    by_key = config.twilio_api_key_sid is not None
    url = f"{account}/IncomingPhoneNumbers.json?PageSize=1" if by_key else f"{account}.json"
    status, content = await _call("GET", url, twilio_headers(config), None, config, _context(config))
    if status == 200:
        state = content.get("status")
        if not by_key and state != "active":
            state = state if state in ("suspended", "closed") else "not active"
            raise CheckFailed(f"the Twilio account is {state}: open it in Twilio's console")
        return f"Twilio takes the {'API key' if by_key else 'token'} of the account"
    secrets = "twilio_api_key_sid and providers.twilio_api_key_secret" if by_key else "twilio_auth_token"
    if status in (401, 403):
        raise CheckFailed(
            f"Twilio refuses the log-in (HTTP {status}): check providers.twilio_account_sid and providers.{secrets}"
        )
    if status == 404:
        raise CheckFailed("Twilio does not know the account: check providers.twilio_account_sid")
    code = content.get("code")
    raise CheckFailed(f"Twilio answers {_answer(status, str(code) if isinstance(code, int) else None)}")


async def check_smtp(config: ProviderConfig) -> str:
    """EHLO, STARTTLS, AUTH and NOOP.

    Raises:
        CheckFailed
    """
    try:
        async with asyncio.timeout(config.smtp_connect_timeout_s):
            connection = await SmtpPool(with_mailbox(config)).connect()
            try:
                await connection.noop()
                encrypted = connection.get_transport_info("sslcontext") is not None
            finally:
                connection.close()
    except aiosmtplib.SMTPAuthenticationError as error:
        raise CheckFailed(
            f"the mail server refuses the log-in (SMTP {error.code}): check providers.smtp_username and providers.smtp_password"
        ) from None
    except aiosmtplib.SMTPResponseException as error:
        raise CheckFailed(f"the mail server answers SMTP {error.code}: it may not serve this machine") from None
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        raise CheckFailed(_smtp_failure(error)) from None
    login = "takes the log-in" if config.smtp_username is not None else "answers, no log-in is configured"
    return f"the mail server {login}{'' if encrypted else ', without encryption'}"


#: By provider; a new provider has one entry here. Each returns what it found, or raises `CheckFailed`.
CHECKS: Final[Mapping[str, Callable[[ProviderConfig], Awaitable[str]]]] = {
    "fcm": check_fcm,
    "apns": check_apns,
    "web_push": check_web_push,
    "twilio": check_twilio,
    "smtp": check_smtp,
    "ses": check_ses,
    "sns": check_sns,
}


async def _call(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    config: ProviderConfig,
    context: ssl.SSLContext,
) -> tuple[int, dict[str, Any]]:
    """The status and the JSON object of a response."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=config.timeout_s)) as session,
            session.request(method, url, headers=headers, data=body, ssl=context, allow_redirects=False) as response,
        ):
            raw = await read_response(response, _MAX_BYTES)
    except aiohttp.ClientConnectorCertificateError as error:
        reason = getattr(error.certificate_error, "verify_message", "") or "it is not valid"
        raise CheckFailed(
            f"the certificate of {error.host} is not accepted ({reason}): set providers.ca_file to the authority that signed it"
        ) from None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise CheckFailed(
            f"{urlsplit(url).netloc} does not respond ({type(error).__name__}): check the address and the network"
        ) from None
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError:
        content = {}
    return response.status, content if isinstance(content, dict) else {}


def _context(config: ProviderConfig) -> ssl.SSLContext:
    try:
        return tls_context(config.ca_file)
    except OSError as error:
        raise CheckFailed(unreadable("ca_file", config.ca_file, error)) from None


def _answer(status: int, code: str | None) -> str:
    return f"HTTP {status}" if code is None else f"HTTP {status}, code {code}"


def _is_about_token(content: dict[str, Any]) -> bool:
    """Whether an INVALID_ARGUMENT is about the device's token: the field is named, or FCM's own code is given."""
    error = content.get("error")
    if not isinstance(error, dict) or error.get("status") != "INVALID_ARGUMENT":
        return False
    return "token" in str(error.get("message")) or "message.token" in orjson.dumps(error.get("details")).decode()


def _smtp_failure(error: Exception) -> str:
    causes = (error, error.__cause__)
    certificate = next((one for one in causes if isinstance(one, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        return (
            f"the certificate of the mail server is not accepted ({certificate.verify_message}): set providers.smtp_ca_file to "
            "the authority that signed it"
        )
    # The texts of aiosmtplib itself.
    if "STARTTLS extension" in str(error):
        return "the mail server offers no STARTTLS: use another port or smtps://, or allow it by providers.smtp_tls"
    if "AUTH extension" in str(error):
        return "the mail server takes no log-in: use another port, or remove providers.smtp_username"
    kind = type(error.__cause__ or error).__name__
    return f"the mail server of providers.smtp does not respond ({kind}): check the address and the network"
