"""The region's MongoDB shards as an operator sees them: made ready, checked, and a bucket moved from one to another."""

from notify_streams.admin.shards.check import check_shards
from notify_streams.admin.shards.init import init_shards
from notify_streams.admin.shards.move import move_bucket

__all__ = ["check_shards", "init_shards", "move_bucket"]
