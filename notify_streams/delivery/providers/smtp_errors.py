"""The codes of SMTP replies, and what each means for a delivery.

A reply has a code of three digits (RFC 5321 §4.2) and may begin its text with an enhanced code, ``5.1.1`` (RFC 2034, RFC 3463). A few
refusals have none of their own and are known by their text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from notify_streams.delivery.providers.provider import ProviderOutcome

_RETRY: Final = ProviderOutcome.RETRY
_REJECTED: Final = ProviderOutcome.REJECTED
_DEAD: Final = ProviderOutcome.DEAD_TOKEN

#: by reply code
OUTCOMES: Final[Mapping[str, ProviderOutcome]] = {
    "421": _RETRY,  # RFC 5321 §4.2.3: service not available, closing
    "432": _RETRY,  # RFC 4954 §4.7.2: a password transition is needed
    "450": _RETRY,  # RFC 5321: mailbox unavailable (busy, blocked for now)
    "451": _RETRY,  # RFC 5321: local error in processing
    "452": _RETRY,  # RFC 5321: insufficient system storage
    "454": _RETRY,  # RFC 3207 §4, RFC 4954 §4.7.4: TLS or authentication not available for now
    "455": _RETRY,  # RFC 5321: unable to accommodate parameters
    "500": _REJECTED,  # RFC 5321: syntax error, line too long
    "501": _REJECTED,  # RFC 5321: syntax error in parameters
    "502": _REJECTED,  # RFC 5321: command not implemented
    "503": _REJECTED,  # RFC 5321: bad sequence of commands
    "504": _REJECTED,  # RFC 5321: parameter not implemented
    "521": _RETRY,  # RFC 7504 §3: this server takes no mail at all
    "523": _RETRY,  # RFC 5248 §3 (X.7.10): encryption needed
    "525": _RETRY,  # RFC 5248 §3 (X.7.13): our account is disabled
    "530": _RETRY,  # RFC 4954 §6: log in first
    "534": _RETRY,  # RFC 4954 §6: our authentication mechanism is too weak
    "535": _RETRY,  # RFC 4954 §6: our credentials are invalid
    "538": _RETRY,  # RFC 4954 §6 (RFC 2554): encryption required for the mechanism
    "550": _REJECTED,  # RFC 5321: mailbox unavailable, or policy
    "551": _REJECTED,  # RFC 5321: user not local
    "552": _REJECTED,  # RFC 5321: exceeded storage allocation
    "553": _REJECTED,  # RFC 5321: mailbox name not allowed
    "554": _REJECTED,  # RFC 5321: transaction failed
    "555": _REJECTED,  # RFC 5321: parameters not recognized or not implemented
    "556": _DEAD,  # RFC 7504 §4: the recipient's domain takes no mail
}

#: By subject and detail of a permanent failure; a class of 4 is retried (RFC 3463 §2). Registered codes without a remark: RFC 3463 §3.
#: Registry: https://www.iana.org/assignments/smtp-enhanced-status-codes
ENHANCED: Final[Mapping[str, ProviderOutcome]] = {
    "0.0": _REJECTED,  # other undefined status
    "1.0": _REJECTED,  # other address status
    "1.1": _DEAD,  # no such mailbox
    "1.2": _DEAD,  # no such domain, or it takes no mail
    "1.3": _DEAD,  # syntax of the recipient's address
    "1.4": _REJECTED,  # ambiguous address
    "1.5": _REJECTED,  # destination address valid: for positive reports only
    "1.6": _DEAD,  # the mailbox has moved, no forwarding address
    "1.7": _RETRY,  # syntax of our sender address
    "1.8": _RETRY,  # our sender's domain does not exist
    "1.9": _REJECTED,  # relayed to a non-compliant mailer (RFC 3886)
    "1.10": _DEAD,  # the recipient's domain has a null MX (RFC 7505)
    "2.0": _REJECTED,  # other mailbox status
    "2.1": _REJECTED,  # mailbox disabled, takes no messages; with Gmail also one that gets too many mails at present
    "2.2": _REJECTED,  # mailbox full
    "2.3": _REJECTED,  # longer than the mailbox allows
    "2.4": _REJECTED,  # mailing list expansion
    "3.0": _REJECTED,  # other mail system status
    "3.1": _RETRY,  # mail system full
    "3.2": _RETRY,  # system takes no messages now
    "3.3": _REJECTED,  # system not capable of selected features
    "3.4": _REJECTED,  # message too big for the system
    "3.5": _RETRY,  # system incorrectly configured
    "3.6": _REJECTED,  # requested priority was changed (RFC 6710)
    "4.0": _REJECTED,  # other network or routing status
    "4.1": _REJECTED,  # no answer from host: only useful as a transient error; Exchange Online refuses unknown recipients with it
    "4.2": _RETRY,  # bad connection: only useful as a transient error
    "4.3": _RETRY,  # directory server failure: only useful as a transient error
    "4.4": _REJECTED,  # unable to route
    "4.5": _RETRY,  # congestion: only useful as a transient error
    "4.6": _REJECTED,  # routing loop
    "4.7": _REJECTED,  # delivery time expired
    "5.0": _REJECTED,  # other protocol status
    "5.1": _REJECTED,  # invalid command
    "5.2": _REJECTED,  # syntax error
    "5.3": _REJECTED,  # too many recipients
    "5.4": _REJECTED,  # invalid command arguments
    "5.5": _REJECTED,  # wrong protocol version
    "5.6": _RETRY,  # authentication exchange line too long (RFC 4954)
    "6.0": _REJECTED,  # other media error
    "6.1": _REJECTED,  # media not supported
    "6.2": _REJECTED,  # conversion required and prohibited
    "6.3": _REJECTED,  # conversion required but not supported
    "6.4": _REJECTED,  # conversion with loss
    "6.5": _REJECTED,  # conversion failed
    "6.6": _REJECTED,  # message content not available (RFC 4468)
    "6.7": _REJECTED,  # non-ASCII addresses not permitted for that sender or recipient (RFC 6531)
    "6.8": _REJECTED,  # UTF-8 reply required, but not permitted (RFC 6531)
    "6.9": _REJECTED,  # UTF-8 headers cannot be transferred to a recipient (RFC 6531)
    "6.10": _REJECTED,  # the same as 6.9, deprecated (RFC 5336)
    "7.0": _REJECTED,  # other security status
    "7.1": _REJECTED,  # delivery not authorized
    "7.2": _REJECTED,  # mailing list expansion prohibited
    "7.3": _REJECTED,  # security conversion required but not possible
    "7.4": _REJECTED,  # security features not supported
    "7.5": _REJECTED,  # cryptographic failure
    "7.6": _REJECTED,  # cryptographic algorithm not supported
    "7.7": _REJECTED,  # message integrity failure
    "7.8": _RETRY,  # our credentials are invalid (RFC 4954)
    "7.9": _RETRY,  # our authentication mechanism is too weak (RFC 4954)
    "7.10": _RETRY,  # encryption needed (RFC 5248)
    "7.11": _RETRY,  # encryption required for our mechanism (RFC 4954)
    "7.12": _RETRY,  # password transition needed (RFC 4954)
    "7.13": _RETRY,  # our account is disabled (RFC 5248)
    "7.14": _RETRY,  # trust relationship required (RFC 5248)
    "7.15": _REJECTED,  # priority level too low (RFC 6710)
    "7.16": _REJECTED,  # too big for the priority (RFC 6710)
    "7.17": _DEAD,  # the mailbox has another owner (RFC 7293)
    "7.18": _DEAD,  # the domain has another owner (RFC 7293)
    "7.19": _REJECTED,  # the test of the owner cannot be completed (RFC 7293)
    "7.20": _RETRY,  # no passing DKIM signature: our key or DNS (RFC 7372)
    "7.21": _RETRY,  # no acceptable DKIM signature (RFC 7372)
    "7.22": _RETRY,  # no passing DKIM signature of the author's domain (RFC 7372)
    "7.23": _RETRY,  # SPF failed: our DNS (RFC 7372)
    "7.24": _RETRY,  # SPF could not be checked (RFC 7372)
    "7.25": _RETRY,  # reverse DNS failed (RFC 7372)
    "7.26": _RETRY,  # several authentication checks failed (RFC 7372)
    "7.27": _RETRY,  # our sender's domain has a null MX (RFC 7505)
    "7.28": _RETRY,  # too many mails at once (X.7.28 of the registry)
    "7.29": _REJECTED,  # ARC failed (RFC 8617)
    "7.30": _REJECTED,  # REQUIRETLS support required (RFC 8689)
}

#: As `ENHANCED`: what Exchange Online has beside the registry.
#: https://learn.microsoft.com/exchange/troubleshoot/email-delivery/ndr/non-delivery-reports-in-exchange-online
EXCHANGE_ONLINE: Final[Mapping[str, ProviderOutcome]] = {
    # our mailbox is throttled after too many refusals of one kind; 2.252 also: it may not send as our sender
    **dict.fromkeys((f"2.{detail}" for detail in range(251, 256)), _RETRY),
    "1.90": _RETRY,  # the daily limit of our account
    # the mailbox takes no more mails, of us or of all, within the hour
    **dict.fromkeys(("2.121", "2.122"), _RETRY),
    "7.60": _RETRY,  # our account may not send as our sender
    **dict.fromkeys(("7.232", "7.233"), _RETRY),  # the daily limits of our tenant
    "7.64": _RETRY,  # relay denied: no connector knows us
    # our address, host name or domain: banned, over a limit, or without DMARC
    **dict.fromkeys(("7.501", "7.502", "7.503", "7.506", "7.508", "7.509", "7.511"), _RETRY),
    **dict.fromkeys((f"7.{detail}" for detail in range(606, 650)), _RETRY),
    # our tenant, domain or IP address may not send
    **dict.fromkeys((f"7.{detail}" for detail in range(700, 751)), _RETRY),
    "7.703": _REJECTED,  # the recipient is on a block list of the tenant
}

#: Stands for the enhanced code where SES says that the sender, or the recipient in its own sandbox, is not verified: our account, not the
#: message. https://docs.aws.amazon.com/ses/latest/dg/troubleshoot-error-messages.html
NOT_VERIFIED: Final = "NotVerified"
_NOT_VERIFIED_TEXT: Final = "Message rejected: Email address is not verified"

#: RFC 5321 §4.2.3: "mailbox unavailable (e.g., mailbox busy or temporarily blocked for policy reasons)"
_MAILBOX_BUSY: Final = 450
_ABOUT_SENDER: Final = frozenset({"4.1.7", "4.1.8"})

#: Stands for the enhanced code where a server takes no mail of ours: our log-in, address, name or sender, not the message. Servers refuse
#: all this at RCPT, with a code that they have for recipients as well: Postfix says "554 5.7.1 <…>: Relay access denied", "…: Client host
#: rejected: …", "Service unavailable; Client host […] blocked using …" and "…: Sender address rejected: not owned by user …", Exim "550 relay
#: not permitted", Exchange "550 5.7.1 Unable to relay", SendGrid "550 The from address does not match a verified Sender Identity", SES "554
#: Access denied: User … is not authorized to perform ses:SendRawEmail" and "Sending suspended for this account", Google "450 4.2.1 Peak SMTP
#: relay limit exceeded for this customer". A mailbox has no blanks, so none looks like this.
SENDER_REFUSED: Final = "SenderRefused"
_sender_refused = re.compile(
    r"\b(?:relay(?:ing)? (?:access )?(?:is )?(?:denied|prohibited|not (?:permitted|allowed))"
    r"|(?:unable|not (?:permitted|allowed)) to relay|invalid credentials for relay"
    r"|(?:client host|helo command|sender address) rejected|client host \[[^\]]{1,64}\] blocked"
    r"|does not match a verified sender identity|not authorized to perform \W?ses:\w+|sending (?:paused|suspended) for"
    r"|relay (?:sending )?limit exceeded)\b",
    re.IGNORECASE,
).search
#: About our account, whatever the code.
OURS: Final = frozenset({NOT_VERIFIED, SENDER_REFUSED})

_enhanced = re.compile(r"([245])\.(\d{1,3}\.\d{1,3})(?!\S)").match


def enhanced_code(text: str) -> str | None:
    """The enhanced code with which the text of a reply begins, or one of `OURS`; also if `text` is such a result."""
    if text.startswith((NOT_VERIFIED, _NOT_VERIFIED_TEXT)):
        return NOT_VERIFIED
    if text == SENDER_REFUSED or _sender_refused(text):
        return SENDER_REFUSED
    found = _enhanced(text)
    return None if found is None else found[0]


def reply_outcome(code: int, enhanced: str | None) -> tuple[ProviderOutcome, bool]:
    """The outcome of a reply of 400 to 599, and whether its codes have a row.

    Without a row the first digit counts (RFC 5321 §4.2.1).
    """
    basic = OUTCOMES.get(str(code))
    if code < 500 or basic is _RETRY or enhanced in OURS:
        return _RETRY, basic is not None
    if enhanced is None or not enhanced.startswith("5.") or enhanced == "5.0.0":
        return basic or _REJECTED, basic is not None
    detail = enhanced.removeprefix("5.")
    found = ENHANCED.get(detail) or EXCHANGE_ONLINE.get(detail)
    return found or basic or _REJECTED, basic is not None and found is not None


def is_about_mailbox(code: int, enhanced: str | None) -> bool:
    """Whether a temporary refusal of RCPT is about this recipient, such as greylisting or a full mailbox, and not about all.

    A server may refuse our sender, or us, only at RCPT: 4.1.7, 4.1.8 and the class 4.7 are about that.
    """
    if enhanced is None:
        return code == _MAILBOX_BUSY
    return enhanced.startswith(("4.1.", "4.2.")) and enhanced not in _ABOUT_SENDER
