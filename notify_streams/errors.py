"""Errors, by what the caller must do.

Each message says what happened, to what, and what to do.

======================  ==================================================================
`SettingsError`         stop the process: the configuration is wrong
`RetryLater`            repeat the same call later; nothing was lost
`StoreUnavailable`      the same: a database or Kafka did not respond in time
`UnknownFailure`        the same, with a limit: no table lists the error
`PermanentFailure`      leave out the record that cannot be written; where there is none, as an outage
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


class UnknownFailure(StoreUnavailable):
    """An error that the store's table of permanent and transient errors does not list. Repeat the call, with a limit."""


class PermanentFailure(StoreUnavailable):
    """A store will never accept what this call writes. Leave out the record (`bad_record`); without one, treat it as an outage."""


class Refused(NotifyError):
    """The request is not allowed or names something that does not exist. Do not repeat it; the message says what to do."""
