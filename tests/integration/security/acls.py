"""Changes rights and passwords in Kafka."""

from __future__ import annotations

from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from devtools.stack.kafka_rights import matching


def allow(address: str, user: str, resource: str, name: str, operation: str) -> None:
    """Give `user` a right on the topic or group `name`."""
    admin = AdminClient({"bootstrap.servers": address})
    _wait(admin.create_acls([_binding(user, resource, name, operation)]))


def forbid(address: str, user: str, resource: str, name: str, operation: str) -> None:
    """Take it away again."""
    admin = AdminClient({"bootstrap.servers": address})
    _wait(admin.delete_acls([matching(_binding(user, resource, name, operation))]))


def set_password(address: str, user: str, password: str) -> None:
    """Give a user this password for SCRAM-SHA-512."""
    admin = AdminClient({"bootstrap.servers": address})
    form = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    change = UserScramCredentialUpsertion(user, form, password.encode())
    _wait(admin.alter_user_scram_credentials([change]))


def _binding(user: str, resource: str, name: str, operation: str) -> AclBinding:
    kind = ResourceType[resource.upper()], name, ResourcePatternType.LITERAL
    return AclBinding(*kind, f"User:{user}", "*", AclOperation[operation.upper()], AclPermissionType.ALLOW)


def _wait(futures: dict[Any, Any]) -> None:
    for future in futures.values():
        future.result(10.0)
