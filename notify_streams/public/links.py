"""The tokens of links, with this worker's keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.records.link_token import LinkTokens
from notify_streams.web.worker_objects import one_for

if TYPE_CHECKING:
    from notify_streams.app import NotifyApp


def link_tokens(worker: NotifyApp) -> LinkTokens | None:
    """None without `public.link_keys`: no link can be read."""
    return one_for(worker, _made)


def _made(worker: NotifyApp) -> LinkTokens | None:
    keys = worker.settings.public.link_key_list()
    return LinkTokens(keys) if keys else None
