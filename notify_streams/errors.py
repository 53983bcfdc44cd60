"""Errors, named by what the catcher must do.

::

    NotifyError
    ├── SettingsError        stop: the configuration is wrong; the message names the key and the remedy
    ├── RetryLater           try the same thing again after a pause; nothing was lost, nothing was promised
    │   └── StoreUnavailable     a database did not answer in time
    ├── Fenced               stop working on this partition: another worker owns it, or records were skipped
    └── Refused              tell the caller no: what was asked is not allowed or does not exist

A normal refusal of a notification (opted out, expired, no contact) is a value, never an error.
"""

from __future__ import annotations


class NotifyError(Exception):
    """Whatever this application raises on purpose."""


class SettingsError(NotifyError):
    """The configuration cannot be used; the message names the key and what to write instead."""


class RetryLater(NotifyError):
    """The same call may succeed later; nothing was lost."""


class StoreUnavailable(RetryLater):
    """A database did not answer within its timeout."""


class Fenced(NotifyError):
    """The ledger has moved on without this worker: seek to ``next_offset`` and forget what is in flight."""

    def __init__(self, ledger_id: str, next_offset: int) -> None:
        super().__init__(f"{ledger_id} is at {next_offset}: another worker wrote it, or records were skipped")
        self.ledger_id = ledger_id
        self.next_offset = next_offset


class Refused(NotifyError):
    """What was asked for is not allowed or not known; the message says what to do."""
