"""Operator commands for the region's MongoDB shards: init, check, move a bucket."""

from notify_streams.admin.shards.check import check_shards
from notify_streams.admin.shards.init import init_shards
from notify_streams.admin.shards.move import move_bucket

__all__ = ["check_shards", "init_shards", "move_bucket"]
