"""Follows the files of secrets that webhooks are signed with."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from notify_streams.followed_files import CHECK_S, FollowedFiles, read_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notify_streams.secret import Secret

Loaded = TypeVar("Loaded")


class FollowedSecrets(FollowedFiles[Loaded]):
    """Reads the files again when one of them changes; see `FollowedFiles`."""

    def __init__(
        self,
        name: str,
        secrets: Sequence[Secret],
        load: Callable[[Sequence[Secret]], Loaded],
        apply: Callable[[Loaded], None],
        check_s: float = CHECK_S,
    ) -> None:
        """`secrets`: as the worker has read them; one without a file stays as it is.

        `load` gets the new ones, runs in the thread and raises `BadCredential`; `apply` runs on the event loop.
        """
        self._secrets = list(secrets)
        self._load_secrets = load
        files = [one.file for one in secrets if one.file is not None]
        super().__init__(name, files, self._read_again, apply, check_s)

    def _read_again(self) -> Loaded | None:
        """What the new secrets are for, if they differ from those in use.

        Raises:
            BadCredential: a file cannot be read, or has no such secret.
        """
        found = [one if one.file is None else read_secret(one.file) for one in self._secrets]
        if found == self._secrets:
            return None
        loaded = self._load_secrets(found)
        self._secrets = found
        return loaded
