"""Follows the files of a provider's credentials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.followed_files import FollowedSecrets
from notify_streams.secret import Secret

Loaded = TypeVar("Loaded")


class CredentialFiles(FollowedSecrets[Loaded]):
    """Follows those of the secrets in some fields of a provider's configuration."""

    def __init__(
        self,
        provider: str,
        config: ProviderConfig,
        fields: Sequence[str],
        load: Callable[[ProviderConfig], Loaded],
        apply: Callable[[Loaded], None],
    ) -> None:
        """`fields`: of `config`, a `Secret` or None each. `load` gets `config` with the new ones; see `FollowedSecrets`."""
        secrets: dict[str, Secret | None] = {name: getattr(config, name) for name in fields}
        known = {name: secret for name, secret in secrets.items() if secret is not None}

        def load_config(found: Sequence[Secret]) -> Loaded:
            changes: dict[str, Any] = dict(zip(known, found, strict=True))
            return load(msgspec.structs.replace(config, **changes))

        super().__init__(provider, list(known.values()), load_config, apply, config.credential_check_s)
