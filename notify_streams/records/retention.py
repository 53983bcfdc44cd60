"""How long a notification and its attempts are kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

RETENTION: Final = timedelta(days=90)
