"""`user_contacts` -> bucket, user id -> how the person is reached, as the JSON that came: about 150 bytes a row.

Owned by whoever owns the bucket's trigger partitions; each router role has its own. Written by `agents.learn`.
"""

from __future__ import annotations

from notify_streams.app import app
from notify_streams.transport import BatchedTable

contacts = BatchedTable(app, "contacts", partitions=app.settings.partitions, replication=app.settings.replication)
