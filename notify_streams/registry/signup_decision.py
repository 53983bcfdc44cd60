"""Decides one sign-up: register, forward, hand over, or ignore.

A move passes through the previous home region. It hands over what only it has (the user's contacts) and forwards the sign-up to the new
home, which writes the row. The previous home notifies the user until the new location reaches it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from notify_streams.registry.user import User, from_signup

if TYPE_CHECKING:
    from collections.abc import Callable

    from notify_streams.records.user_records import Signup
    from notify_streams.regions.forwarding.headers import ForwardingHeaders

#: From any region to the previous home, from there to the new one.
MAX_HOPS: Final = 2


class KnownHome(Protocol):
    """A home region with its version: the registry's row, or the row of the locations table if that is newer."""

    @property
    def region(self) -> str: ...
    @property
    def version(self) -> int: ...


class SignupIgnored(StrEnum):
    """Why a sign-up changes nothing."""

    #: The registry holds this version with another home region, or a later version.
    STALE = "stale"
    #: The user was erased: the id is never registered again.
    ERASED = "erased"
    TOO_MANY_HOPS = "too_many_hops"
    UNKNOWN_REGION = "unknown_region"
    #: The registry cannot hold the row (`WriteOutcome.REFUSED`).
    REFUSED = "refused"
    #: The registry will never accept it.
    BAD_RECORD = "bad_record"


@dataclass(frozen=True, slots=True)
class RegisterHere:
    """Write the row here: this region is the user's home, or serves the home region's users now."""

    user: User


@dataclass(frozen=True, slots=True)
class ForwardSignup:
    """Send the sign-up to `region`."""

    region: str


@dataclass(frozen=True, slots=True)
class HandOver:
    """This is the previous home: send the user's contacts to `region`, then the sign-up."""

    region: str
    old_home: str


SignupDecision = RegisterHere | ForwardSignup | HandOver | SignupIgnored


def decide_signup(
    signup: Signup,
    headers: ForwardingHeaders,
    known: KnownHome | None,
    here: str,
    server_of: Callable[[str], str | None],
) -> SignupDecision:
    """Decide one sign-up in the region `here`.

    Args:
        known: the newest home that this region knows; its replica of the registry may be behind.
        server_of: the region that serves a home region's users now; None for an unknown region.
    """
    target = server_of(signup.region)
    if target is None:
        return SignupIgnored.UNKNOWN_REGION
    same = known is not None and (known.version, known.region) == (signup.version, signup.region)
    if known is not None and not same and known.version >= signup.version:
        return SignupIgnored.STALE
    can_hop = headers.hops < MAX_HOPS
    old_home = known.region if known is not None and known.region != signup.region else None
    if old_home is not None and headers.handed_over_by is None:
        keeper = server_of(old_home) or here
        if keeper != here:
            return ForwardSignup(keeper) if can_hop else SignupIgnored.TOO_MANY_HOPS
        if target != here:
            return HandOver(target, old_home) if can_hop else SignupIgnored.TOO_MANY_HOPS
        return RegisterHere(from_signup(signup))  # this region serves both homes' users: nothing to hand over
    if target == here:
        previous = headers.handed_over_by
        return RegisterHere(from_signup(signup, previous if previous != here else None))
    return ForwardSignup(target) if can_hop else SignupIgnored.TOO_MANY_HOPS
