"""The closed list of ways by which a choice is made."""

from __future__ import annotations

from enum import StrEnum


class ChoiceSource(StrEnum):
    """Who or what made a choice, for the history of a person's consent."""

    #: A record on `preference_updates`: an application of the operator.
    APP = "app"
    #: ``PUT /users/{id}/preferences/…``
    API = "api"
    #: A file of `notify-streams prefs import`.
    IMPORT = "import"
    #: `notify-streams prefs`.
    CLI = "cli"
    #: The link or button "unsubscribe" of a mail (RFC 8058).
    ONE_CLICK = "one_click"
    PREFERENCE_PAGE = "preference_page"
    #: A text message with STOP, START or a like word.
    SMS_KEYWORD = "sms_keyword"
    #: A provider said that its recipient has opted out with it.
    PROVIDER_OPT_OUT = "provider_opt_out"
    #: A mailbox provider reported that its user marked a mail as spam.
    COMPLAINT = "complaint"
    #: A mail server said that the address does not exist.
    HARD_BOUNCE = "hard_bounce"
    ERASURE = "erasure"

    @classmethod
    def _missing_(cls, value: object) -> ChoiceSource | None:
        """One that only a later release has counts as `APP`: the choice itself must not be lost where this one runs."""
        return cls.APP if isinstance(value, str) else None
