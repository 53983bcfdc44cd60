"""Table `contacts`: bucket, user id → the newest contacts record as JSON.

About 150 bytes a row. Each router role has its own, and so has the registry role, which sends contacts on when a user moves. Written by
`agents.apply_contacts` and `agents.replicate`.
"""

from __future__ import annotations

from notify_streams.app import app
from notify_streams.transport import BatchedTable

contacts = BatchedTable(app, "contacts", partitions=app.settings.partitions, replication=app.settings.replication)
