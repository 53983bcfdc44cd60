"""Table `preferences`: bucket, user id → compiled row (`preferences.row_codec`).

7 to 9 bytes a row for three categories: a copy of the durable record in MongoDB. Each router worker has its own. Written together
with the durable record: `agents.apply_preferences`, `PUT`, imports.
"""

from __future__ import annotations

from notify_streams.app import app
from notify_streams.preferences.row_codec import newest_row
from notify_streams.topics import PREFERENCE_ROWS
from notify_streams.transport import PartitionedTable

preferences: PartitionedTable = PartitionedTable(
    app,
    PREFERENCE_ROWS,
    store=app.table_store(PREFERENCE_ROWS),
    decode=newest_row(lambda bucket, user_id: preferences.get(bucket, user_id)),
)
