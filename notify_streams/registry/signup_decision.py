"""What one sign-up means in one region: written here, handed over, passed on, or nothing. Values in, a value out.

A move goes by way of the old home. It hands over what only it has (the person's contacts) and passes the sign-up on to the new
home, which writes the row; from there the new location spreads, and until it reaches the old home that one goes on notifying.
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

#: Entered anywhere, by way of the old home, to the new one.
MAX_HOPS: Final = 2


class KnownHome(Protocol):
    """A home with its version: the registry's row, or the row of the locations table where that one is newer."""

    @property
    def region(self) -> str: ...
    @property
    def version(self) -> int: ...


class SignupIgnored(StrEnum):
    """Why a sign-up changes nothing."""

    #: The registry holds this version with another home, or a later version.
    STALE = "stale"
    TOO_MANY_HOPS = "too_many_hops"
    UNKNOWN_REGION = "unknown_region"


@dataclass(frozen=True, slots=True)
class RegisterHere:
    """Write the row here: this region is the person's home, or serves that home's people while it is away."""

    user: User


@dataclass(frozen=True, slots=True)
class ForwardSignup:
    """Send the sign-up to `region`."""

    region: str


@dataclass(frozen=True, slots=True)
class HandOver:
    """This is the old home: send what it has of the person to `region`, then the sign-up."""

    region: str
    old_home: str


SignupDecision = RegisterHere | ForwardSignup | HandOver | SignupIgnored


def decide_signup(
    signup: Signup,
    travel: ForwardingHeaders,
    row: KnownHome | None,
    here: str,
    server_of: Callable[[str], str | None],
) -> SignupDecision:
    """Decide one sign-up in the region `here`.

    Args:
        row: the newest that this region knows of the person; its replica of the registry may be behind.
        server_of: the region that serves a home region's people now; None for a region that nobody knows.
    """
    target = server_of(signup.region)
    if target is None:
        return SignupIgnored.UNKNOWN_REGION
    if (
        row is not None
        and (row.version, row.region) != (signup.version, signup.region)
        and row.version >= signup.version
    ):
        return SignupIgnored.STALE
    old_home = row.region if row is not None and row.region != signup.region else None
    if old_home is not None and travel.handed_over_by is None:
        keeper = server_of(old_home) or here
        if keeper != here:
            return ForwardSignup(keeper) if travel.hops < MAX_HOPS else SignupIgnored.TOO_MANY_HOPS
        if target != here:
            return HandOver(target, old_home) if travel.hops < MAX_HOPS else SignupIgnored.TOO_MANY_HOPS
        return RegisterHere(from_signup(signup))  # this region serves both homes' people: nothing has to travel
    if target == here:
        previous = travel.handed_over_by
        return RegisterHere(from_signup(signup, previous if previous != here else None))
    return ForwardSignup(target) if travel.hops < MAX_HOPS else SignupIgnored.TOO_MANY_HOPS
