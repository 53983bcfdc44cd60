"""TCP connections to one server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

import aiohappyeyeballs

from notify_streams.delivery.providers.http.name_lookups import NameLookups
from notify_streams.delivery.providers.http.request_head import Server

#: how long the addresses of a name are used
_ADDRESSES_S: Final = 10.0
#: after this time without a connection the next address is tried as well
_NEXT_ADDRESS_S: Final = 0.1
#: RFC 6052: an IPv4 address in the last 32 bits
_NAT64: Final = ip_network("64:ff9b::/96")
#: RFC 4291, section 2.4, and the registry of IANA
_GLOBAL_UNICAST: Final = ip_network("2000::/3")
#: Networks with a special use that Python takes for public: 192.0.0.0/24 (IANA; some clouds serve credentials in it), the former
#: 6to4 relays (RFC 7526), documentation (RFC 9637), and the address at which Azure serves its machines.
_SPECIAL: Final = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20", "168.63.129.16/32")))


class PrivateAddress(OSError):
    """The server has an address that is not of the public internet. It was not connected to."""


class Dialer:
    """Connections that are opened within 10 s share one look-up of the server's name."""

    def __init__(self, server: Server, *, public_only: bool = False, lookups: NameLookups | None = None) -> None:
        """`lookups`: look the name up there; None: in the threads of the event loop."""
        self._server = server
        self._lookups = lookups
        self._public_only = public_only
        self._lookup: asyncio.Task[Sequence[aiohappyeyeballs.AddrInfoType]] | None = None
        self._looked_up_at = 0.0

    async def connect(self) -> socket.socket:
        """A connected socket that does not block.

        Raises:
            OSError: there is none; `PrivateAddress` if one of the addresses is private and only public ones may be used.
        """
        try:
            addresses = await self._addresses()
            if self._public_only and not all(is_public(str(address[4][0])) for address in addresses):
                raise PrivateAddress("the server has a private address")
            sock = await aiohappyeyeballs.start_connection(
                addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1
            )
        except OSError:
            self._lookup = None
            raise
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def close(self) -> None:
        """Cancel a look-up in progress."""
        if self._lookup is not None:
            self._lookup.cancel()

    async def _addresses(self) -> Sequence[aiohappyeyeballs.AddrInfoType]:
        loop = asyncio.get_running_loop()
        if self._lookup is None or (self._lookup.done() and loop.time() - self._looked_up_at > _ADDRESSES_S):
            self._lookup = loop.create_task(self._look_up())
        # A call that is cancelled leaves the look-up to the next one.
        return await asyncio.shield(self._lookup)

    async def _look_up(self) -> Sequence[aiohappyeyeballs.AddrInfoType]:
        loop = asyncio.get_running_loop()
        try:
            if self._lookups is not None:
                return await self._lookups.look_up(self._server.host, self._server.port)
            return await loop.getaddrinfo(self._server.host, self._server.port, type=socket.SOCK_STREAM)
        finally:
            self._looked_up_at = loop.time()


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet; for an IPv6 address that stands for an IPv4 address (NAT64, 6to4), that one."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if any(ip in network for network in _SPECIAL):
        return False
    if isinstance(ip, IPv6Address):
        if ip in _NAT64:
            return is_public(str(IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip.sixtofour is not None:
            return is_public(str(ip.sixtofour))
        return ip in _GLOBAL_UNICAST and ip.is_global
    return ip.is_global and not ip.is_multicast
