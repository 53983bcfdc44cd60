"""The result of a delivery to several devices, from that of each call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.delivery.attempts import DeviceOutcome
from notify_streams.delivery.providers import ProviderOutcome, ProviderResult
from notify_streams.records.devices import token_sha

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.delivery.providers import DeviceResult
    from notify_streams.records.devices import Devices

#: The delivery has the first of these that a device has. Of failures those come first that say something about the message.
_ORDER: Final = (
    ProviderOutcome.RETRY,
    ProviderOutcome.ACCEPTED,
    ProviderOutcome.RENDERING,
    ProviderOutcome.TOO_LARGE,
    ProviderOutcome.REJECTED,
    ProviderOutcome.DEAD_TOKEN,
    ProviderOutcome.BAD_ADDRESS,
)


def merged(results: Sequence[DeviceResult]) -> ProviderResult:
    """To be retried while one call must be (see `remaining`), else accepted if one device's provider took the message, else a failure.

    To be retried, it is about the calls to be made again, but for the provider's id of what was accepted.
    """
    chosen = min((one.result for one in results), key=lambda result: _ORDER.index(result.outcome))
    if chosen.outcome is not ProviderOutcome.RETRY:
        return msgspec.structs.replace(chosen, devices=tuple(results))
    again = [one.result for one in results if one.result.outcome is ProviderOutcome.RETRY]
    taken = next((one.result for one in results if one.result.outcome is ProviderOutcome.ACCEPTED), None)
    return msgspec.structs.replace(
        chosen,
        provider_id=None if taken is None else taken.provider_id,
        begun=any(one.result.begun for one in results),
        retry_after_s=max((one.retry_after_s for one in again if one.retry_after_s is not None), default=None),
        throttled=any(one.throttled for one in again),
        maybe_accepted=any(one.maybe_accepted for one in again),
        not_ready=all(one.result.not_ready for one in results),
        devices=tuple(results),
    )


def is_reached(result: ProviderResult) -> bool:
    """Whether the provider of one of the devices took the message."""
    return any(one.result.outcome is ProviderOutcome.ACCEPTED for one in result.devices or ())


def remaining(devices: Devices, results: Sequence[DeviceResult]) -> Devices:
    """Of these devices those that the next attempt calls."""
    again = {one.token for one in results if one.result.outcome is ProviderOutcome.RETRY}
    return tuple(device for device in devices if device.token in again)


def device_outcomes(results: Sequence[DeviceResult]) -> tuple[DeviceOutcome, ...]:
    """What the attempt keeps of each call."""
    return tuple(
        DeviceOutcome(
            token_sha(one.token),
            one.result.provider,
            one.result.outcome.value,
            one.result.code or one.result.detail or None,
            one.template_version,
        )
        for one in results
    )
