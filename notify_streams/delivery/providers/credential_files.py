"""Follows the files of a provider's credentials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.followed_files import FollowedFiles, read_secret
from notify_streams.secret import Secret

Loaded = TypeVar("Loaded")


class CredentialFiles(FollowedFiles[Loaded]):
    """Reads the files again when one of them changes; see `FollowedFiles`."""

    def __init__(
        self,
        provider: str,
        config: ProviderConfig,
        fields: Sequence[str],
        load: Callable[[ProviderConfig], Loaded],
        apply: Callable[[Loaded], None],
    ) -> None:
        """`fields`: of `config`, a `Secret` or None each; one without a file stays as it is.

        `load` gets `config` with the new ones, runs in the thread and raises `BadCredential`; `apply` runs on the event loop.
        """
        self._config = config
        secrets: dict[str, Secret | None] = {name: getattr(config, name) for name in fields}
        self._secrets = {name: secret for name, secret in secrets.items() if secret is not None}
        self._by_field = {name: secret.file for name, secret in self._secrets.items() if secret.file is not None}
        self._load_config = load
        super().__init__(provider, self._by_field.values(), self._read_again, apply, config.credential_check_s)

    def _read_again(self) -> Loaded | None:
        """The credential of the files if it differs from the one in use.

        Raises:
            BadCredential: a file cannot be read, or is no credential.
        """
        found = self._secrets | {name: read_secret(file) for name, file in self._by_field.items()}
        if found == self._secrets:
            return None
        changes: dict[str, Any] = {**found}
        loaded = self._load_config(msgspec.structs.replace(self._config, **changes))
        self._secrets = found
        return loaded
