"""What a worker tells about its providers."""

from __future__ import annotations

import msgspec


class ProviderState(msgspec.Struct, frozen=True):
    """Whether a worker calls its provider now."""

    provider: str
    #: closed: without a limit; open: not at all; probing: one call; recovering: with a growing limit; paused: by an operator
    state: str
    #: seconds until the next probe; 0 unless it is open
    open_for_s: float
    #: calls under way
    calls: int
    #: provider → how its last call ended if that was because of our credential: ``HTTP 401, code 20003``
    credential_problems: dict[str, str] = {}
    #: provider → how its last call ended that was refused because the provider has no valid key of ours for the recipient's platform
    platform_problems: dict[str, str] = {}
    #: Those that are called when this one is not, in their order; of push those that devices name.
    further: tuple[ProviderState, ...] = ()
    #: categories whose messages wait on the worker's channel
    paused_categories: list[str] = []
    #: the worker's share of the limit in the settings; None: no limit
    calls_per_s: float | None = None
