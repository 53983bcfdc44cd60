"""`topics grow`: more partitions for a region whose workers are stopped."""

from notify_streams.admin.growth.grow import grow

__all__ = ["grow"]
