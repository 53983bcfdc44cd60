"""Types of settings."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

#: The longest time that Kafka's protocol can express: its milliseconds have 31 bits.
MAX_S: Final = 2_147_483.0
MAX_PORT: Final = 65_535
#: Of a table on disk (`transport.tables.disk_store`).
MAX_DISK_PARTITIONS: Final = 4_096

#: At most what MongoDB, Kafka and LMDB can express as a whole number.
Positive = Annotated[int, msgspec.Meta(gt=0, le=2**63 - 1)]
#: A number in Kafka's protocol.
Positive32 = Annotated[int, msgspec.Meta(gt=0, le=2**31 - 1)]
#: A millisecond at least: what counts whole milliseconds would take less for no limit (MongoDB's driver), or refuse it (Redis).
PositiveS = Annotated[float, msgspec.Meta(ge=0.001, le=MAX_S)]
#: Between two looks, each of which asks services.
IntervalS = Annotated[float, msgspec.Meta(ge=0.1, le=MAX_S)]
Rate = Annotated[float, msgspec.Meta(gt=0)]
Port = Annotated[int, msgspec.Meta(gt=0, le=MAX_PORT)]
