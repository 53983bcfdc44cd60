"""Follows the files of credentials: a new one is used without a restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from notify_streams import tasks
from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.secret import Secret

log = logging.getLogger(__name__)

Loaded = TypeVar("Loaded")
#: What tells that a file was replaced: inode, size, times of the last change (ns) of its content, and of its owner or mode.
_Version = tuple[int, int, int, int]


class BadCredential(ValueError):
    """A credential that cannot work. The message says what is wrong with it and never shows it."""


class CredentialFiles(Generic[Loaded]):
    """Reads the files again when one of them changes. They are looked at in a thread, because a file system may be slow.

    A file that cannot be read, or whose content is no credential, changes nothing; it leaves one log line, until it changes again.
    Files that belong together may be read between their replacements: the next look corrects it.
    """

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
        self._provider = provider
        self._config = config
        secrets: dict[str, Secret | None] = {name: getattr(config, name) for name in fields}
        self._secrets = {name: secret for name, secret in secrets.items() if secret is not None}
        self._files = {name: secret.file for name, secret in self._secrets.items() if secret.file is not None}
        self._load = load
        self._apply = apply
        #: of the last look that was applied or reported
        self._versions: dict[str, _Version | None] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Follow the files, if there are any."""
        if self._files:
            self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        await tasks.stop([self._task])

    async def _follow(self) -> None:
        while True:
            try:
                loaded = await tasks.in_thread(self._changed)
                if loaded is not None:
                    self._apply(loaded)
                    log.info(
                        "a credential was replaced", extra={"action": "credential.replaced", "call": self._provider}
                    )
            except (
                Exception
            ) as error:  # a defect of a loader must not end the following; the error's text may contain a secret
                reason = str(error) if isinstance(error, BadCredential) else type(error).__name__
                log.error(
                    "a new credential cannot be used, the old one is kept",
                    extra={"action": "credential.refused", "call": self._provider, "error": reason},
                )
            await asyncio.sleep(self._config.credential_check_s)

    def _changed(self) -> Loaded | None:
        """The credential of the files if it differs from the one in use.

        Raises:
            BadCredential: a file cannot be read, or is no credential.
        """
        versions = {name: _version(file) for name, file in self._files.items()}
        if versions == self._versions:
            return None
        self._versions = versions
        found = self._secrets | {name: _read(file) for name, file in self._files.items()}
        if found == self._secrets:
            return None
        changes: dict[str, Any] = {**found}
        loaded = self._load(msgspec.structs.replace(self._config, **changes))
        self._secrets = found
        return loaded


def _version(file: Path) -> _Version | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read(file: Path) -> Secret:
    try:
        secret = Secret.read(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise BadCredential(f"{file} cannot be read: {reason}") from None
    if not secret:
        raise BadCredential(f"{file} is empty")
    return secret
