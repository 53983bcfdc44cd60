"""The local stack: real Kafka, MongoDB, Valkey, DynamoDB, providers and edge for each region, as plain processes.

`Stack(folder).up(["us"])` starts what is not running and writes `<folder>/us.yaml`, the settings that point the application at it.
Only development, tests and drills use this package; the application never imports it.
"""

from notify_streams.devstack.failure import StackFailed
from notify_streams.devstack.folders import stack_folder
from notify_streams.devstack.region import Region
from notify_streams.devstack.stack import Stack

__all__ = ["Region", "Stack", "StackFailed", "stack_folder"]
