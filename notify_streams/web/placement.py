"""The present placement, as this worker follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.errors import RetryLater, StoreUnavailable

if TYPE_CHECKING:
    from notify_streams.app import NotifyApp
    from notify_streams.regions.failover.placement import Placement


def current_placement(worker: NotifyApp) -> Placement:
    """Which region serves each home region now.

    Raises:
        StoreUnavailable: this worker does not know it yet.
    """
    follower = worker.placement_follower
    assert follower is not None, f"role {worker.role} follows the placement"
    placement = follower.placement
    if placement is None:
        raise StoreUnavailable(f"this worker does not know the placement yet: it waits for {follower.waiting_for}")
    return placement


def require_still_served_here(worker: NotifyApp, home: str) -> None:
    """After a failover during a call, what was stored here may have no effect.

    Raises:
        RetryLater: this region does not serve the users of `home` any more.
    """
    if current_placement(worker).server_of(home) != worker.settings.region:
        raise RetryLater("another region begins to serve this user")
