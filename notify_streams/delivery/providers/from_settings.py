"""Makes the clients' configuration of settings; refuses missing credentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from notify_streams.addresses import is_loopback
from notify_streams.delivery.providers.apns import ProviderTokens
from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.dkim_signature import dkim_signer
from notify_streams.delivery.providers.http.tls import tls_context, unreadable
from notify_streams.delivery.providers.service_account import account_of
from notify_streams.delivery.providers.web_push import VapidTokens
from notify_streams.errors import SettingsError
from notify_streams.followed_files import BadCredential
from notify_streams.records.addresses import mailbox
from notify_streams.records.devices import PushProvider
from notify_streams.settings_providers import ProviderSettings


def provider_config(settings: ProviderSettings, **but: Any) -> ProviderConfig:
    """The configuration of all clients. `but`: fields that are no settings. A setting that is None leaves the field's default."""
    given = {name: getattr(settings, name) for name in ProviderSettings.__struct_fields__}
    config = {name: value for name, value in given.items() if value is not None}
    if not is_loopback(settings.twilio):
        config["twilio_status_callback"] = settings.twilio_status_callback
    return ProviderConfig(**config, **but)


def further_push_providers(settings: ProviderSettings) -> list[PushProvider]:
    """Those beside `push_provider` that have a credential, for the devices that name them."""
    has_credential: dict[PushProvider, bool] = {
        "fcm": settings.fcm_service_account is not None or is_loopback(settings.fcm),
        "apns": settings.apns_key is not None,
        "web_push": settings.web_push_key is not None,
    }
    return [name for name, given in has_credential.items() if given and name != settings.push_provider]


def check_credentials(settings: ProviderSettings, channel: str) -> None:
    """Refuse to call the providers of `channel` with what only the sandbox takes.

    Raises:
        SettingsError: a credential or sender is missing or cannot work; the message names the setting.
    """
    for one in settings.in_order(channel):
        check_credential(one, one.provider_of[channel])
    if channel == "push":
        for provider in further_push_providers(settings):
            check_credential(settings, provider)


def check_credential(settings: ProviderSettings, provider: str) -> None:
    """As `check_credentials`, for one provider.

    Raises:
        SettingsError
    """
    for one in settings.each_credential(provider):
        if provider in _PROBLEM and (problem := _PROBLEM[provider](one)) is not None:
            raise SettingsError(problem)
    if provider == "fcm":
        _check_one_project(settings)
    setting = "smtp_ca_file" if provider == "smtp" else "ca_file"
    if (file := getattr(settings, setting)) is not None:
        try:
            tls_context(file)
        except OSError as error:
            raise SettingsError(unreadable(setting, file, error)) from None


def _check_one_project(settings: ProviderSettings) -> None:
    """A registration token is valid for one project only."""
    each = [provider_config(one) for one in settings.each_credential("fcm")]
    if len({account_of(one).project for one in each if one.fcm_service_account is not None}) > 1:
        raise SettingsError(
            "the keys of providers.more_credentials must be of the project of providers.fcm_service_account"
        )


def _fcm(settings: ProviderSettings) -> str | None:
    if settings.fcm_service_account is None:
        return _missing(
            settings.fcm, "fcm", "providers.fcm_service_account_file", "the key file of a Google service account"
        )
    return _refusal(lambda: account_of(provider_config(settings)))


def _apns(settings: ProviderSettings) -> str | None:
    return _refusal(lambda: ProviderTokens.of(provider_config(settings)))


def _web_push(settings: ProviderSettings) -> str | None:
    return _refusal(lambda: VapidTokens.of(provider_config(settings)))


def _refusal(load: Callable[[], object]) -> str | None:
    try:
        load()
    except BadCredential as error:
        return str(error)
    return None


def _twilio(settings: ProviderSettings) -> str | None:
    if settings.twilio_account_sid is None:
        names = "providers.twilio_account_sid and providers.twilio_auth_token_file"
        return _missing(settings.twilio, "twilio", names, "the sid and the token of a Twilio account")
    if settings.twilio_sender is None:
        return _missing(
            settings.twilio, "twilio", "providers.twilio_sender", "a number or a messaging service of the account"
        )
    return None


def _smtp(settings: ProviderSettings) -> str | None:
    if settings.mail_sender is None:
        return _missing(settings.smtp, "smtp", "providers.mail_sender", "the address that mails come from")
    if mailbox(settings.mail_sender) is None:
        return "providers.mail_sender must be one mail address without a name, as notify@example.org"
    return _refusal(lambda: dkim_signer(provider_config(settings)))


def _ses(settings: ProviderSettings) -> str | None:
    if settings.mail_sender is None:
        if settings.aws_endpoint is not None and is_loopback(settings.aws_endpoint):
            return None
        return "providers.mail_sender is missing: set it to a verified address, or an address of a verified domain, of the SES account"
    address = mailbox(settings.mail_sender)
    if address is None or not address.isascii():
        return "providers.mail_sender must be one mail address without a name, for SES in ASCII before the @, as notify@example.org"
    return None


def _missing(address: str, provider: str, settings: str, what: str) -> str | None:
    if is_loopback(address):
        return None
    return f"providers.{provider} is the address of another machine: set {settings} to {what}"


#: By provider: what is wrong with its credential and sender.
_PROBLEM: Final[Mapping[str, Callable[[ProviderSettings], str | None]]] = {
    "fcm": _fcm,
    "apns": _apns,
    "web_push": _web_push,
    "twilio": _twilio,
    "smtp": _smtp,
    "ses": _ses,
}
