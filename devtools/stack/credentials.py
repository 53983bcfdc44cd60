"""Certificates and passwords of a region's services, as private files.

Each is made once, and stays until `down --wipe`. A password is in the file that is named after its user.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from devtools.certificates import LOCAL_HOSTS, Authority
from devtools.private_file import write_private
from notify_streams.secret import Secret
from notify_streams.security import KafkaSecurity, TlsSettings

if TYPE_CHECKING:
    from pathlib import Path

#: Of the principals that `topics acls` names.
PREFIX: Final = "notify-"
#: May do everything in Kafka: it creates the users and their rights.
KAFKA_ADMIN: Final = "admin"
#: The broker's own user, and the subject of its certificate.
BROKER: Final = "broker"
#: MongoDB's user of all workers: only the user of a session may end it, and a worker ends those of a dead one.
MONGO_WORKERS: Final = "mongo-workers"
MONGO_OPERATOR: Final = "mongo-operator"
#: Of the members of a replica set among themselves: `--keyFile`, and the password of the user `__system`.
MONGO_MEMBERS: Final = "mongo-members"
#: Valkey has one password, without a user.
REDIS: Final = "redis"
SCRAM: Final = "SCRAM-SHA-512"
_LIFE: Final = timedelta(days=3650)


class Credentials:
    """Those of the region whose folder is given."""

    def __init__(self, region: Path) -> None:
        self._folder = region / "credentials"
        #: The certificate of the authority that has signed `server`.
        self.ca = self._folder / "ca.pem"
        #: Key and certificate of all servers.
        self.server = self._folder / "server.pem"

    def create(self) -> None:
        """Create the certificates, unless they exist."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self.server.exists():
            Authority(self._folder, "ca", _LIFE).sign("server", f"CN={BROKER}", LOCAL_HOSTS, _LIFE)

    def file(self, user: str) -> Path:
        """The file with the password of `user`, who gets one at the first call."""
        file = self._folder / user
        if not file.exists():
            # MongoDB takes a key of base64 characters only.
            write_private(file, secrets.token_hex(24))
        return file

    def password(self, user: str) -> str:
        return self.file(user).read_text()

    def kafka(self, user: str) -> dict[str, Any]:
        """The setting `kafka_security` of a client."""
        login = {"mechanism": SCRAM, "username": user, "password_file": str(self.file(user))}
        return {"protocol": "SASL_SSL", **login, "tls": self._tls}

    def kafka_security(self, user: str) -> KafkaSecurity:
        """The same as a value."""
        tls = TlsSettings(str(self.ca))
        return KafkaSecurity("SASL_SSL", SCRAM, user, Secret.read(self.file(user)), tls=tls)

    def mongo(self, user: str) -> dict[str, Any]:
        """The setting `mongo_security` of a client."""
        return {"username": user, "password_file": str(self.file(user)), "tls": self._tls}

    def redis(self, *, tls: bool) -> dict[str, Any]:
        """The setting `redis_security` of a client."""
        return {"password_file": str(self.file(REDIS)), **({"tls": self._tls} if tls else {})}

    @property
    def _tls(self) -> dict[str, str]:
        return {"ca_file": str(self.ca)}
