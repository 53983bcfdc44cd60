"""What the internet reaches: webhooks, and the links of mails."""

from __future__ import annotations

from typing import Final

from devtools.openapi.answers import ErrorAnswer
from devtools.openapi.bodies import (
    AcceptedReports,
    AddressEvent,
    AppliedStop,
    DeliveryEvent,
    OneClickForm,
    PreferenceForm,
    TwilioForm,
)
from devtools.openapi.document import RETRY_AFTER, Server
from devtools.openapi.operation import FORM, JSON, PAGE, Answer, Operation, Parameter, Paths, of_json, of_page, redirect
from notify_streams.public.region_stops import REGION_STOPS
from notify_streams.public.relay import PROOF_HEADER
from notify_streams.public.sns_signature import SnsMessage
from notify_streams.public.twilio_signature import SETTINGS_HEADER, SIGNATURE_HEADER
from notify_streams.records.user_records import PreferenceUpdate

_REFUSED: Final = of_json("The request does not prove who sent it. Nothing was done.", ErrorAnswer)
_AGAIN: Final = Answer("The webhook is off, or nothing is promised: send it again.", {JSON: ErrorAnswer}, RETRY_AFTER)
_ACCEPTED: Final = of_json("Everything is durable, and every later check sees what was stopped.", AcceptedReports)
_BAD_LINK: Final = of_page("The link is not valid, or there is no such person any more.")
_LATER: Final = Answer("A store or the person's region does not answer.", {**PAGE, JSON: ErrorAnswer}, RETRY_AFTER)
_LANG: Final = Parameter("lang", "the language of the page; default: the link's, or that of `Accept-Language`")

_WEBHOOKS: Final[Paths] = {
    "/webhooks/twilio": {
        "post": Operation(
            "Status callbacks and incoming messages of Twilio",
            {
                200: Answer("Everything is durable: TwiML, with the answer to HELP.", {"text/xml": str}),
                403: _REFUSED,
                503: _AGAIN,
            },
            [
                Parameter(
                    "notify_delivery_id", "of a status callback: the delivery; so are other parameters `notify_…`"
                ),
                Parameter(SETTINGS_HEADER, "`key=…,algorithm=HMAC_SHA256` where a shared key signs", place="header"),
            ],
            {FORM: TwilioForm},
            ["twilio_signature"],
        )
    },
    "/webhooks/sns": {
        "post": Operation(
            "Messages of Amazon SNS: events of SES, text messages to a number of AWS",
            {200: _ACCEPTED, 403: _REFUSED, 503: _AGAIN},
            body={"text/plain": SnsMessage},
            text="The signature is in the body, by a certificate of SNS; the topic must be one of `public.sns_topics`. "
            "The body is JSON, whatever `Content-Type` says.",
        )
    },
    "/webhooks/generic": {
        "post": Operation(
            "Reports of any other system, by Standard Webhooks",
            {200: _ACCEPTED, 400: of_json("It is signed, and no report.", ErrorAnswer), 403: _REFUSED, 503: _AGAIN},
            [
                Parameter(
                    "webhook-id", "1 to 256 characters; a known one changes nothing", place="header", required=True
                ),
                Parameter(
                    "webhook-timestamp",
                    "Unix time in seconds, at most 5 minutes from now",
                    place="header",
                    required=True,
                ),
            ],
            {JSON: (DeliveryEvent, AddressEvent)},
            ["standard_webhooks"],
            "An event of another type is accepted and reports nothing.",
        )
    },
    REGION_STOPS: {
        "post": Operation(
            "A suppressed address, from another region",
            {
                200: of_json("Every check that begins from now on sees it.", AppliedStop),
                400: of_json("The body is no suppression of an address.", ErrorAnswer),
                403: _REFUSED,
            },
            body={JSON: PreferenceUpdate},
            security=["region_proof"],
        )
    },
}
_LINKS: Final[Paths] = {
    "/preferences/{token}": {
        "get": Operation(
            "The page where a person makes choices",
            {200: of_page("The page."), 404: _BAD_LINK, 503: _LATER},
            [
                _LANG,
                Parameter("confirm", "`stop_all`: the question before everything is stopped"),
                Parameter("done", "`save`, `stop_all`: the page says that this was done"),
            ],
        ),
        "post": Operation(
            "Store what was changed on the page",
            {
                303: redirect("It is stored: back to the page."),
                400: of_page("The form cannot be read."),
                403: of_page("The form comes from another site, or is no form."),
                404: _BAD_LINK,
                503: _LATER,
            },
            [_LANG],
            {FORM: PreferenceForm},
        ),
    },
    "/unsubscribe/{token}": {
        "get": Operation(
            "The page with the button; changes nothing",
            {200: of_page("The page."), 404: _BAD_LINK, 409: of_page("It cannot be turned off."), 503: _LATER},
            [_LANG],
        ),
        "post": Operation(
            "Stop the kind of mail that has the link (RFC 8058)",
            {
                200: of_page("Every check that begins from now on sees the choice."),
                404: _BAD_LINK,
                409: of_page("It cannot be turned off."),
                503: _LATER,
            },
            [_LANG],
            {FORM: OneClickForm},
        ),
    },
}


def _signature(header: str, text: str) -> dict[str, str]:
    return {"type": "apiKey", "in": "header", "name": header, "description": text}


PUBLIC: Final = Server(
    "notify-streams: what the internet reaches",
    "What the role `webhooks` serves at `public.urls` of each region: webhooks of providers, one-click unsubscription, the preference page. "
    "There are no tokens of operators: a request proves itself by a signature, or by the token of a link in its path. "
    "docs/deploy/webhooks.md has the settings.",
    {**_WEBHOOKS, **_LINKS},
    {"token": "encrypted by the region that sent the mail: the person, and what the link stops"},
    {
        "twilio_signature": _signature(
            SIGNATURE_HEADER, "HMAC-SHA1 or HMAC-SHA256 in base64 over the URL at `public.urls` and the sorted fields"
        ),
        "standard_webhooks": _signature(
            "webhook-signature",
            "`v1,` and HMAC-SHA256 in base64 over `<webhook-id>.<webhook-timestamp>.<body>`; several, separated by spaces",
        ),
        "region_proof": _signature(
            PROOF_HEADER, "Fernet with a key of `public.link_keys`, over method, path and body; valid for 60 s"
        ),
    },
)
