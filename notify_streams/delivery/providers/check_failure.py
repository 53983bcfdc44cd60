"""What a check of a provider found wrong."""

from __future__ import annotations


class CheckFailed(Exception):
    """The provider would not take our messages. The message says why and what to do, without the provider's text."""
