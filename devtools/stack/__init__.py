"""The local stack: real Kafka, MongoDB, Valkey, DynamoDB, providers and edge for each region, as plain processes.

`Stack(folder).up(["us"])` starts what is not running and writes `<folder>/us.yaml`, the settings that point the application at it.
Only development, tests and drills use this package; the application never imports it.
"""

from devtools.stack.errors import StackFailed
from devtools.stack.paths import stack_folder
from devtools.stack.region import Region
from devtools.stack.stack import Stack

__all__ = ["Region", "Stack", "StackFailed", "stack_folder"]
