"""The audit: compares MongoDB, Kafka and the provider log.

It checks from outside that every trigger has exactly one outcome. `compare` and `cross_region` are pure; `topics`, `database` and `region`
read.
"""

from notify_streams.admin.audit.compare import Difference
from notify_streams.admin.audit.region import audit

__all__ = ["Difference", "audit"]
