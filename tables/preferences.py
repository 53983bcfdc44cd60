"""Table `preferences`: bucket, user id → compiled row (`preferences.row_codec`).

7 to 9 bytes a row for three categories: a copy of the durable record in MongoDB. Each router role has its own. Written by
`agents.apply_preferences`.
"""

from __future__ import annotations

from notify_streams.app import app
from notify_streams.transport import BatchedTable

preferences = BatchedTable(app, "preferences", partitions=app.settings.partitions, replication=app.settings.replication)
