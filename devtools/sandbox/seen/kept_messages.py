"""The newest accepted messages as they arrived, bounded in number and in bytes."""

from __future__ import annotations

import sys
from collections import deque
from typing import Final, NamedTuple

from notify_streams.admin.audit.provider_log import AcceptedMessage

MAX_MESSAGES: Final = 2_000
MAX_BYTES: Final = 32 * 1024 * 1024
#: Of one message; the rest is cut off.
MAX_CONTENT: Final = 64 * 1024
#: The objects of one message without their text.
_OBJECTS: Final = 512


class KeptMessage(NamedTuple):
    #: 1 for the first message of the process.
    number: int
    line: AcceptedMessage
    #: Device token, E.164 number or mail address.
    to: str
    #: The first `MAX_CONTENT` bytes of what was received: FCM's JSON, Twilio's form, or the mail.
    content: bytes
    is_cut: bool
    #: Bytes of memory.
    size: int


class KeptMessages:
    """Nothing is decoded here: `add` is called for every accepted message."""

    def __init__(self, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        self.max_messages, self.max_bytes = max_messages, max_bytes
        self._messages: deque[KeptMessage] = deque()
        #: Messages so far, and bytes of those that are kept.
        self.accepted = self.bytes = 0

    def add(self, line: AcceptedMessage, to: str, content: bytes) -> None:
        """Keep a message. The oldest ones are dropped until the bounds hold."""
        kept = content[:MAX_CONTENT]
        texts = (to, line.delivery_id, line.notification_id, line.decided_at or "")
        size = _OBJECTS + sys.getsizeof(kept) + sum(map(sys.getsizeof, texts))
        self.accepted += 1
        self.bytes += size
        messages = self._messages
        messages.append(KeptMessage(self.accepted, line, to, kept, len(kept) < len(content), size))
        while len(messages) > self.max_messages or self.bytes > self.max_bytes:
            self.bytes -= messages.popleft().size

    def all(self) -> tuple[KeptMessage, ...]:
        """In the order of acceptance."""
        return tuple(self._messages)

    def numbered(self, number: int) -> KeptMessage | None:
        """The message with this number, if it is still kept."""
        first = self._messages[0].number if self._messages else number + 1
        at = number - first
        return self._messages[at] if 0 <= at < len(self._messages) else None
