"""Changes rights and passwords in Kafka."""

from __future__ import annotations

from typing import Any

from confluent_kafka.admin import AclBinding, AdminClient

from devtools.stack.kafka_rights import bindings, matching, wait, with_password
from notify_streams.admin.topic_acls import Access


def allow(address: str, user: str, resource: str, name: str, operation: str) -> None:
    """Give `user` a right on the topic or group `name`."""
    admin = AdminClient({"bootstrap.servers": address})
    wait(admin.create_acls([_binding(user, resource, name, operation)]))


def forbid(address: str, user: str, resource: str, name: str, operation: str) -> None:
    """Take it away again."""
    admin = AdminClient({"bootstrap.servers": address})
    wait(admin.delete_acls([matching(_binding(user, resource, name, operation))]))


def set_password(address: str, user: str, password: str) -> None:
    """Give a user this password for SCRAM-SHA-512."""
    admin = AdminClient({"bootstrap.servers": address})
    wait(admin.alter_user_scram_credentials([with_password(user, password)]))


def _binding(user: str, resource: Any, name: str, operation: Any) -> AclBinding:
    (found,) = bindings(f"User:{user}", Access(resource, name, (operation,)))
    return found
