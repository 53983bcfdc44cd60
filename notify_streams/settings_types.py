"""Types of settings."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

#: The longest time that Kafka's protocol can express: its milliseconds have 31 bits.
MAX_S: Final = 2_147_483.0
MAX_PORT: Final = 65_535

Positive = Annotated[int, msgspec.Meta(gt=0)]
PositiveS = Annotated[float, msgspec.Meta(gt=0, le=MAX_S)]
Rate = Annotated[float, msgspec.Meta(gt=0)]
Port = Annotated[int, msgspec.Meta(gt=0, le=MAX_PORT)]
