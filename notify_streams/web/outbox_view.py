"""`/outbox`: number and age of unpublished outbox rows, by role and bucket."""

from __future__ import annotations

import msgspec

from notify_streams.web.outbox import region_outbox
from notify_streams.web.responses import Content, SharedView, json_content


class Outbox(SharedView):
    async def content(self) -> Content:
        found = await region_outbox(self.worker)
        return json_content({"region": self.worker.settings.region, **msgspec.structs.asdict(found)})
