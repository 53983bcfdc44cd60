"""Asks each provider whether it takes our credentials."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from notify_streams.delivery.providers import provider_config
from notify_streams.delivery.providers.check_failure import CheckFailed
from notify_streams.delivery.providers.checks import CHECKS
from notify_streams.delivery.providers.from_settings import check_credential, further_push_providers
from notify_streams.errors import SettingsError

if TYPE_CHECKING:
    from notify_streams.settings import Settings
    from notify_streams.settings_providers import ProviderSettings


async def check_all_credentials(settings: Settings, within_s: float | None = None) -> list[dict[str, Any]]:
    """What each provider says: `channel`, `provider`, `credential` (its number, from 1), `ok`, `text`. Sends nothing.

    One for each credential, in the order of the channels; then further push providers. All are asked at the same time. `within_s`: for each
    of them, beside the timeout of its settings.
    """
    asked = [
        (channel, one.provider_of[channel])
        for channel in settings.providers.provider_of
        for one in settings.providers.in_order(channel)
    ]
    asked += [("push", provider) for provider in further_push_providers(settings.providers)]
    return list(
        await asyncio.gather(
            *(
                _checked(one, channel, provider, number, within_s)
                for channel, provider in asked
                for number, one in enumerate(settings.providers.each_credential(provider), start=1)
            )
        )
    )


async def _checked(
    settings: ProviderSettings, channel: str, provider: str, number: int, within_s: float | None
) -> dict[str, Any]:
    """`number`: of the provider's credential, from 1."""

    try:
        check_credential(settings, provider)
        async with asyncio.timeout(within_s):
            ok, text = True, await CHECKS[provider](provider_config(settings))
    except TimeoutError:
        ok, text = False, f"{provider} does not respond within {within_s:g} s: check its address and the network"
    except (SettingsError, CheckFailed) as error:
        ok, text = False, str(error)
    except Exception as error:  # the other providers' results are shown all the same; its text may have a credential
        ok, text = False, f"the check of {provider} failed ({type(error).__name__}): report it as a defect"
    return {"channel": channel, "provider": provider, "credential": number, "ok": ok, "text": text}
