"""Asks SES and SNS whether they take our credential; sends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from notify_streams.delivery.providers.aws_client import NoCredentials, aws_session, credentials_of
from notify_streams.delivery.providers.check_failure import CheckFailed
from notify_streams.delivery.providers.config import ProviderConfig

#: Codes of `aws_errors.COMMON_ERRORS` that are about the credential.
_REFUSED: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_FORBIDDEN: Final = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError", "NotAuthorized"})


async def check_ses(config: ProviderConfig) -> str:
    """`GetAccount`.

    Raises:
        CheckFailed
    """
    account = await _ask("SES", "sesv2", "get_account", "ses:GetAccount", config)
    if account.get("SendingEnabled") is False:
        raise CheckFailed(
            f"the SES account may not send in {config.aws_region}: see its reputation metrics in the console"
        )
    if account.get("ProductionAccessEnabled") is False:
        return "SES takes the credential; the account may send to verified addresses only, until AWS ends its sandbox"
    return f"SES takes the credential in {config.aws_region}"


async def check_sns(config: ProviderConfig) -> str:
    """`GetSMSAttributes`.

    Raises:
        CheckFailed
    """
    await _ask("SNS", "sns", "get_sms_attributes", "sns:GetSMSAttributes", config)
    return f"SNS takes the credential in {config.aws_region}"


async def _ask(name: str, service: str, operation: str, permission: str, config: ProviderConfig) -> Mapping[str, Any]:
    from aiobotocore.config import AioConfig
    from botocore.exceptions import BotoCoreError, ClientError, SSLError

    limits = AioConfig(
        connect_timeout=config.timeout_s,
        read_timeout=config.timeout_s,
        retries={"total_max_attempts": 1},
        proxies={},
        ignore_configured_endpoint_urls=True,
    )
    try:
        async with asyncio.timeout(config.timeout_s):
            session = aws_session(config)
            await credentials_of(name, session)
            async with session.create_client(
                service,
                region_name=config.aws_region,
                endpoint_url=config.aws_endpoint,
                verify=config.ca_file,
                config=limits,
            ) as client:
                answer: Mapping[str, Any] = await getattr(client, operation)()
                return answer
    except NoCredentials as error:
        raise CheckFailed(str(error)) from None
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _REFUSED:
            raise CheckFailed(
                f"{name} refuses the credential ({code}): check providers.aws_access_key_id and "
                "providers.aws_secret_access_key, or the role of this machine"
            ) from None
        if code in _FORBIDDEN:
            raise CheckFailed(f"{name} knows the credential, but it may not ask: give it {permission}") from None
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        raise CheckFailed(
            f"{name} answers HTTP {status}: check providers.aws_region and providers.aws_endpoint"
        ) from None
    except SSLError:
        raise CheckFailed(
            f"the certificate of {name} is not accepted: set providers.ca_file to the authority that signed it"
        ) from None
    except (BotoCoreError, OSError) as error:
        raise CheckFailed(
            f"{name} does not respond ({type(error).__name__}): check providers.aws_region and the network"
        ) from None
