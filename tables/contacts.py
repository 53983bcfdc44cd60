"""Table `contacts`: bucket, user id → addresses as JSON (`ContactRow`).

About 150 bytes a row: a copy of the durable record in MongoDB. Each router worker has its own. Written by `agents.apply_contacts`.
"""

from __future__ import annotations

from notify_streams.app import app
from notify_streams.records.user_records import newest_contact_row
from notify_streams.topics import CONTACT_ROWS
from notify_streams.transport import PartitionedTable

contacts: PartitionedTable = PartitionedTable(
    app,
    CONTACT_ROWS,
    store=app.table_store(CONTACT_ROWS),
    decode=newest_contact_row(lambda bucket, user_id: contacts.get(bucket, user_id)),
)
