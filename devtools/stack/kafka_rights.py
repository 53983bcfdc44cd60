"""Creates the users of a secure Kafka, each with its rights from `topics acls`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from devtools.stack.credentials import KAFKA_ADMIN, PREFIX
from notify_streams.admin.topic_acls import Access, principals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from devtools.stack.credentials import Credentials
    from notify_streams.security import KafkaSecurity
    from notify_streams.settings import Settings

_USER: Final = "User:"
_TIMEOUT_S: Final = 30.0
_ITERATIONS: Final = 4096


def librdkafka_options(security: KafkaSecurity) -> dict[str, Any]:
    """How clients of librdkafka log in by password."""
    found = {
        "security.protocol": security.protocol,
        "sasl.mechanism": security.mechanism,
        "sasl.username": security.username,
        "sasl.password": security.password and security.password.reveal(),
        "ssl.ca.location": security.tls and security.tls.ca_file,
    }
    return {name: value for name, value in found.items() if value is not None}


def give(servers: str, credentials: Credentials, settings: Settings) -> None:
    """Create every user, and make the rights in Kafka those of `topics acls`, no more and no less.

    Raises:
        KafkaException: Kafka does not answer, or refuses.
    """
    admin = AdminClient({"bootstrap.servers": servers, **librdkafka_options(credentials.kafka_security(KAFKA_ADMIN))})
    wanted = principals(settings, _USER + PREFIX)
    users = [one.name.removeprefix(_USER) for one in wanted]
    wait(admin.alter_user_scram_credentials([with_password(user, credentials.password(user)) for user in users]))
    rights = {binding for one in wanted for access in one.accesses for binding in bindings(one.name, access)}
    found = set(admin.describe_acls(matching(), request_timeout=_TIMEOUT_S).result())
    if missing := [*(rights - found)]:
        wait(admin.create_acls(missing, request_timeout=_TIMEOUT_S))
    if superfluous := [matching(one) for one in found - rights]:
        wait(admin.delete_acls(superfluous, request_timeout=_TIMEOUT_S))


def with_password(user: str, password: str) -> UserScramCredentialUpsertion:
    """The change that gives a user this password for SCRAM-SHA-512."""
    form = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
    return UserScramCredentialUpsertion(user, form, password.encode())


def bindings(principal: str, access: Access) -> Iterator[AclBinding]:
    """The rights of one access, one for each operation."""
    for operation in access.operations:
        yield AclBinding(
            ResourceType[access.resource.upper()],
            access.name,
            ResourcePatternType.PREFIXED if access.prefixed else ResourcePatternType.LITERAL,
            principal,
            "*",
            AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()],
            AclPermissionType.ALLOW,
        )


def matching(one: AclBinding | None = None) -> AclBindingFilter:
    """Matches `one`, or every right."""
    words: tuple[Any, ...]
    if one is None:
        words = ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
    else:
        kind = one.restype, one.name, one.resource_pattern_type
        words = *kind, one.principal, one.host, one.operation, one.permission_type
    return AclBindingFilter(*words)


def wait(futures: dict[Any, Any]) -> None:
    """Wait for the answers to a call of `AdminClient`.

    Raises:
        KafkaException: Kafka does not answer in time, or refuses.
    """
    for future in futures.values():
        future.result(_TIMEOUT_S)
