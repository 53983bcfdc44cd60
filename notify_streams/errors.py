"""Errors, by what the caller must do.

Each message says what happened, to what, and what to do.

======================  ==================================================================
`SettingsError`         stop the process: the configuration is wrong
`RetryLater`            repeat the same call later; nothing was lost
`StoreUnavailable`      the same: a database or Kafka did not respond in time
`Refused`               show the message to the operator; repeating the call does not help
======================  ==================================================================

A notification that is not sent (opted out, expired, no contact) is a result, not an error.
"""

from __future__ import annotations


class NotifyError(Exception):
    """The superclass of all errors of this application."""


class SettingsError(NotifyError):
    """The configuration is not valid. Stop; the message names the key and a correct value."""


class RetryLater(NotifyError):
    """A transient failure. Repeat the same call later (`retry.RetryPolicy`)."""


class StoreUnavailable(RetryLater):
    """A database or Kafka did not respond within its timeout. Repeat the same call later."""


class Refused(NotifyError):
    """The request is not allowed or names something that does not exist. Do not repeat it; the message says what to do."""
