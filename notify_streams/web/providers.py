"""`/providers`: provider state, calls and ended deliveries by worker."""

from __future__ import annotations

from notify_streams.web.peers import region_peers
from notify_streams.web.responses import Content, SharedView, json_content


class Providers(SharedView):
    """Leaves out workers that do not respond."""

    async def content(self) -> Content:
        workers = [
            {
                "role": one.role,
                "uptime_s": one.uptime_s,
                "provider": one.provider_state,
                "calls": one.providers,
                "deliveries": one.deliveries,
            }
            for peer in (await region_peers(self.worker)).workers
            if (one := peer.summary) is not None and one.provider_state is not None
        ]
        return json_content({"region": self.worker.settings.region, "since": "each worker's start", "workers": workers})
