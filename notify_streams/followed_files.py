"""Follows files of passwords, keys and certificates: no restart is needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

from notify_streams import tasks
from notify_streams.secret import Secret

log = logging.getLogger(__name__)

Loaded = TypeVar("Loaded")
#: What tells that a file was replaced: inode, size, times of the last change (ns) of its content, and of its owner or mode.
_Version = tuple[int, int, int, int]
#: Time between two looks at the files.
CHECK_S: Final = 5.0


class BadCredential(ValueError):
    """A credential that cannot work. The message says what is wrong with it and never shows it."""


class FollowedFiles(Generic[Loaded]):
    """Loads what the files hold when one of them changes. They are looked at in a thread, because a file system may be slow.

    A file that cannot be read, or whose content is no credential, changes nothing; it leaves one log line, until it changes again.
    Files that belong together may be read between their replacements: the next look corrects it.
    """

    def __init__(
        self,
        name: str,
        files: Iterable[Path],
        load: Callable[[], Loaded | None],
        apply: Callable[[Loaded], None],
        check_s: float = CHECK_S,
    ) -> None:
        """`load` runs in the thread, returns None if nothing has changed, and raises `BadCredential`; `apply` runs on the event loop."""
        self._name = name
        self._files = tuple(files)
        self._load = load
        self._apply = apply
        self._check_s = check_s
        #: of the last look that was applied or reported
        self._versions: list[_Version | None] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Follow the files, if there are any and they are not followed yet."""
        if self._files and self._task is None:
            self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        await tasks.stop([self._task])

    async def _follow(self) -> None:
        while True:
            try:
                loaded = await tasks.in_thread(self._changed)
                if loaded is not None:
                    self._apply(loaded)
                    log.info("a credential was replaced", extra={"action": "credential.replaced", "call": self._name})
            except (
                Exception
            ) as error:  # a defect of a loader must not end the following; the error's text may contain a secret
                reason = str(error) if isinstance(error, BadCredential) else type(error).__name__
                log.error(
                    "a new credential cannot be used, the old one is kept",
                    extra={"action": "credential.refused", "call": self._name, "error": reason},
                )
            await asyncio.sleep(self._check_s)

    def _changed(self) -> Loaded | None:
        versions = self._look()
        if versions == self._versions:
            return None
        try:
            loaded = self._load()
        except Exception:
            if self._look() != versions:
                return None  # replaced while they were read: the next look tells what is wrong with the new ones
            self._versions = versions
            raise
        self._versions = versions
        return loaded

    def _look(self) -> list[_Version | None]:
        return [_version(file) for file in self._files]


def _version(file: Path) -> _Version | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class FollowedSecrets(FollowedFiles[Loaded]):
    """Reads secrets again when one of their files changes; see `FollowedFiles`."""

    def __init__(
        self,
        name: str,
        secrets: Sequence[Secret],
        load: Callable[[Sequence[Secret]], Loaded],
        apply: Callable[[Loaded], None],
        check_s: float = CHECK_S,
    ) -> None:
        """`secrets`: those in use; one without a file stays as it is.

        `load` gets all of them, in their order, runs in the thread and raises `BadCredential`; `apply` runs on the event loop.
        """
        self._secrets = list(secrets)
        self._load_secrets = load
        files = [one.file for one in secrets if one.file is not None]
        super().__init__(name, files, self._read_again, apply, check_s)

    def _read_again(self) -> Loaded | None:
        """What the files' secrets are for, if they differ from those in use.

        Raises:
            BadCredential: a file cannot be read, or holds no such secret.
        """
        found = [one if one.file is None else _read(one.file) for one in self._secrets]
        if found == self._secrets:
            return None
        loaded = self._load_secrets(found)
        self._secrets = found
        return loaded


def _read(file: Path) -> Secret:
    """The secret in a file.

    Raises:
        BadCredential: the file cannot be read, or is empty.
    """
    try:
        secret = Secret.read(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise BadCredential(f"{file} cannot be read: {reason}") from None
    if not secret:
        raise BadCredential(f"{file} is empty")
    return secret
