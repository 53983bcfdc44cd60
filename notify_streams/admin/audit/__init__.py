"""The audit: MongoDB against Kafka against the providers' own record. Proves from outside that every trigger has one outcome.

Pure centre: `compare` (facts in, differences out). I/O rim: `topics`, `database`, `region`.
"""

from notify_streams.admin.audit.compare import Difference
from notify_streams.admin.audit.region import audit

__all__ = ["Difference", "audit"]
