"""The local stack: Kafka, MongoDB, Valkey, DynamoDB, nginx, provider sandbox.

`Stack(folder).up(["us"])` starts what does not run, as plain processes, and writes `<folder>/us.yaml`: the settings that point
the application at it.
"""

from devtools.stack.errors import StackFailed
from devtools.stack.paths import stack_folder
from devtools.stack.region import Region
from devtools.stack.stack import Stack

__all__ = ["Region", "Stack", "StackFailed", "stack_folder"]
