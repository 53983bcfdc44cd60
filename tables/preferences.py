"""`preference_updates` -> bucket, user id -> the compiled row (`preferences.compiled`): 7 to 9 bytes for three categories.

A copy of the durable record in MongoDB. Owned by whoever owns the bucket's trigger partitions; each router role has its own. Written by
`agents.apply_preferences`.
"""

from __future__ import annotations

from notify_streams.app import app
from notify_streams.transport import BatchedTable

preferences = BatchedTable(app, "preferences", partitions=app.settings.partitions, replication=app.settings.replication)
