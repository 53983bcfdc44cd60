"""The forms of service addresses, and the credentials inside a URI."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote, urlsplit

from notify_streams.secret import Secret

#: At most 63 characters: sockets take no other one.
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_NAME: Final = rf"{_LABEL}(?:\.{_LABEL})*"
_HOST: Final = rf"(?:{_NAME}|\[[0-9A-Fa-f:.]+\])"
_PORT: Final = r":(?:6553[0-5]|655[0-2]\d|65[0-4]\d{2}|6[0-4]\d{3}|[1-5]\d{4}|[1-9]\d{0,3})"
#: RFC 3986: every other character of a user name or a password is percent-encoded.
_CREDENTIAL: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
_CREDENTIALS: Final = rf"(?:{_CREDENTIAL}*:{_CREDENTIAL}+@)?"
_HOSTS: Final = rf"{_HOST}(?:{_PORT})?(?:,{_HOST}(?:{_PORT})?)*"
_PATH: Final = r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?"
_URI_CREDENTIALS: Final = re.compile(r"([a-z+]+://)([^/?#@]*)@(.*)")


@dataclass(frozen=True, slots=True)
class AddressForm:
    """What an address must look like. `describe` is for an error message: the address itself may hold a password."""

    describe: str
    pattern: str

    def accepts(self, address: str) -> bool:
        return re.fullmatch(self.pattern, address) is not None


#: An IPv6 address has no brackets.
HOST: Final = AddressForm("a name or an address, without a port", rf"{_NAME}|[0-9A-Fa-f]{{0,4}}:[0-9A-Fa-f:.]{{1,40}}")
KAFKA: Final = AddressForm("host:port, several separated by commas", rf"{_HOST}{_PORT}(?:\s*,\s*{_HOST}{_PORT})*")
MONGODB: Final = AddressForm(
    "mongodb://host:port/?options, without passwords among the options; encode other characters of a password as %XX",
    rf"mongodb(?:\+srv)?://{_CREDENTIALS}{_HOSTS}(?:/[A-Za-z0-9_-]*(?:\?(?!(?i:.*(?:password|token)))[^\s#@]*)?)?",
)
REDIS: Final = AddressForm(
    "redis://host:port/database, redis+sentinel://host:port,host:port/master/database, or the same with rediss; "
    "encode other characters of a password as %XX",
    rf"rediss?://{_CREDENTIALS}{_HOST}(?:{_PORT})?(?:/\d*)?"
    rf"|rediss?\+sentinel://{_CREDENTIALS}{_HOSTS}/[A-Za-z0-9._-]+(?:/\d*)?",
)
HTTP: Final = AddressForm(
    "http://host or https://host, without user name or query", rf"https?://{_HOST}(?:{_PORT})?{_PATH}"
)
#: Twilio takes no host with an underscore (https://www.twilio.com/docs/api/errors/21609): every SMS would be refused.
CALLBACK: Final = AddressForm(
    "https://host/path, which may have a query and, after a #, connection overrides of Twilio",
    rf"https?://(?![^/]*_){_HOST}(?:{_PORT})?{_PATH}(?:\?[!-\"$-~]*)?(?:#[A-Za-z0-9&=,._-]*)?",
)
SMTP: Final = AddressForm(
    "smtp://host:port or smtps://host:port, without user name", rf"smtps?://{_HOST}(?:{_PORT})?/?"
)


def without_credentials(uri: str) -> str:
    """A URI without user, password and options, for a message. A password may contain any character, a host neither ``@`` nor ``?``."""
    scheme, mark, rest = uri.partition("://")
    return f"{scheme}{mark}{(rest or scheme).rpartition('@')[2].partition('?')[0]}" if mark else uri.rpartition("@")[2]


def is_loopback(url: str) -> bool:
    """Whether the host of a URL is this machine, by its name alone."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who logs in. Both are None without a log-in; Redis needs no user name."""

    username: str | None = None
    password: Secret | None = None


def split_credentials(uri: str) -> tuple[str, Credentials]:
    """The URI without credentials, and these, decoded."""
    found = _URI_CREDENTIALS.fullmatch(uri)
    if found is None:
        return uri, Credentials()
    username, _, password = found[2].partition(":")
    return found[1] + found[3], Credentials(unquote(username) or None, Secret(unquote(password)) if password else None)
