"""What the role `views` serves: the region's page and views, and writes."""

from __future__ import annotations

from typing import Final

from devtools.openapi.answers import (
    DeadLettersAnswer,
    ErrorAnswer,
    LedgerAnswer,
    LocationAnswer,
    OutboxAnswer,
    ProvidersAnswer,
    RegionsAnswer,
    SearchAnswer,
    StoredChoice,
    StoryAnswer,
    TemplatesAnswer,
    UserAnswer,
)
from devtools.openapi.bodies import ChoiceForm, LoginForm
from devtools.openapi.document import RETRY_AFTER, Server
from devtools.openapi.operation import FORM, JSON, PAGE, Answer, Operation, Parameter, Paths, of_json, of_page, redirect
from devtools.openapi.worker_paths import OF_EVERY_WORKER
from notify_streams.admin.template_preview import Preview
from notify_streams.admin.why.ask import DEFAULT_LIMIT, MAX_LIMIT
from notify_streams.preferences.put_handler import ChoiceBody
from notify_streams.web.summary import Summary
from notify_streams.web.verdict.region_status import RegionStatus

_READ: Final = ("read_token", "read_session")
_WRITE: Final = ("write_token", "write_session")
_LOGIN: Final = redirect("A browser (`Accept: text/html`) without a session: to `/login`.")
_NEXT: Final = Parameter("next", "the path of this server to show after the login")
_STORY: Final = {
    200: of_json("What is known, newest first.", StoryAnswer, page=True),
    303: _LOGIN,
    404: of_json("No region knows of it: the trigger may be in flight.", StoryAnswer, page=True),
}
_ERROR: Final = {JSON: ErrorAnswer}
_NOT_VALID: Final = of_json("A file of the templates is missing or not valid.", TemplatesAnswer, page=True)

_PAGES: Final[Paths] = {
    "/": {
        "get": Operation(
            "The region's page",
            {
                200: Answer(
                    "The page; for `Accept: application/json` the summary of this worker.", {**PAGE, JSON: Summary}
                )
            },
        )
    },
    "/login": {
        "get": Operation(
            "The form that takes a token",
            {200: of_page("The form."), 303: redirect("The browser has a session already.")},
            [_NEXT, Parameter("right", "`write`: ask for the write token also of a browser that may read")],
        ),
        "post": Operation(
            "Begin a session of 8 h",
            {
                303: Answer("The browser has a session.", PAGE, {"Location": "`next`", "Set-Cookie": "the session"}),
                401: Answer("This is not the token.", PAGE, {"WWW-Authenticate": "Bearer"}),
                403: of_json("The form comes from another address.", ErrorAnswer, page=True),
                429: Answer("Too many wrong tokens came from this address within a minute.", PAGE, RETRY_AFTER),
            },
            [_NEXT],
            {FORM: LoginForm},
        ),
    },
    "/logout": {
        "post": Operation(
            "End the sessions of this browser",
            {
                303: redirect("The cookies are removed."),
                403: of_json("The form comes from another address.", ErrorAnswer, page=True),
            },
        )
    },
    "/region": {
        "get": Operation("Verdict, workers, totals and charts", {200: of_json("At most 5 s old.", RegionStatus)})
    },
    "/region/events": {
        "get": Operation(
            "Changes of the region's page, as server-sent events",
            {200: Answer('Events `region`: `{"at", "title", "sections": {name: HTML}}`.', {"text/event-stream": str})},
        )
    },
    "/runbooks": {"get": Operation("The runbooks of this version", {200: of_page("The page.")})},
    "/search": {
        "get": Operation(
            "Find a trigger, a person or a provider's message by its id",
            {
                200: of_json("What was found.", SearchAnswer, page=True),
                303: redirect("A browser: to the login, or to the only page that was found."),
                400: of_json("`q` is missing or too long.", ErrorAnswer, page=True),
                404: of_json("Nothing was found.", SearchAnswer, page=True),
                503: Answer(
                    "Nothing was found, and not all could be searched.", {JSON: (SearchAnswer, ErrorAnswer), **PAGE}
                ),
            },
            [Parameter("q", "the id, 1 to 300 characters", required=True)],
            security=_READ,
        )
    },
}
_PEOPLE: Final[Paths] = {
    "/users/{user_id}": {
        "get": Operation(
            "Home region, contacts and preferences of a person",
            {
                200: of_json("The person.", UserAnswer, page=True),
                303: _LOGIN,
                404: of_json("No user with this id has signed up.", ErrorAnswer, page=True),
            },
            [Parameter("done", "`stored`: the page says that a choice was stored")],
            security=_READ,
        )
    },
    "/users/{user_id}/preferences/{category}/{channel}": {
        "put": Operation(
            "Store a choice",
            {
                200: of_json("Every check from now on sees the choice.", StoredChoice),
                400: of_json("The body is none.", ErrorAnswer),
                404: of_json("There is no such user, category or channel.", ErrorAnswer),
                409: of_json("It cannot be turned off.", ErrorAnswer),
                421: of_json("Another region serves the person; nothing was stored.", ErrorAnswer),
                503: Answer("It may or may not be stored. Send it again.", {**_ERROR, **PAGE}, RETRY_AFTER),
            },
            body={JSON: ChoiceBody},
            security=_WRITE,
            text="The body is read whatever `Content-Type` says.",
        ),
        "post": Operation(
            "Store a choice: a button of a person's page",
            {
                303: redirect("It is stored: back to the person's page."),
                400: of_json("The body is none.", ErrorAnswer, page=True),
                404: of_json("There is no such user, category or channel.", ErrorAnswer, page=True),
                409: of_json("It cannot be turned off.", ErrorAnswer, page=True),
                421: of_json("Another region serves the person; nothing was stored.", ErrorAnswer, page=True),
            },
            body={FORM: ChoiceForm},
            security=_WRITE,
        ),
    },
    "/locations/{key}": {
        "get": Operation(
            "A user's home region, for points of presence",
            {
                200: of_json("The location.", LocationAnswer),
                404: of_json("No user with this id has signed up.", ErrorAnswer),
            },
            security=("edge_token",),
        )
    },
}
_DELIVERIES: Final[Paths] = {
    "/ledger": {"get": Operation("Whether the outcomes add up", {200: of_json("At most 1 s old.", LedgerAnswer)})},
    "/outbox": {"get": Operation("Unpublished outbox rows", {200: of_json("At most 1 s old.", OutboxAnswer)})},
    "/providers": {
        "get": Operation(
            "Providers, calls and ended deliveries by worker", {200: of_json("Those that answer.", ProvidersAnswer)}
        )
    },
    "/regions": {"get": Operation("Who serves which region", {200: of_json("The placement.", RegionsAnswer)})},
    "/notifications": {
        "get": Operation(
            "The notifications of a person, or the one of a provider's message",
            _STORY | {400: of_json("Neither `user` nor `provider_id`.", ErrorAnswer)},
            [
                Parameter("user", "the user id"),
                Parameter("provider_id", "the id that a provider gave a message"),
                Parameter("limit", f"with `user`: how many, default {DEFAULT_LIMIT}, at most {MAX_LIMIT}"),
            ],
            security=_READ,
            text="Without a question a browser gets a form.",
        )
    },
    "/notifications/{trigger_id}": {
        "get": Operation(
            "What became of a trigger",
            _STORY | {400: of_json("The id is too long.", ErrorAnswer)},
            security=_READ,
            text="`trigger_id` may also be `{system}/{trigger_id}`, with a slash.",
        )
    },
    "/dead-letters": {
        "get": Operation(
            "The newest dead letters, and their number by reason",
            {
                200: of_json("The dead letters, newest first.", DeadLettersAnswer, page=True),
                303: _LOGIN,
                400: of_json("`limit` is no number from 1 to 100.", ErrorAnswer, page=True),
            },
            [
                Parameter("limit", "how many, 1 to 100; default 20", int),
                Parameter("values", "`true`: with the beginning of each value"),
            ],
            security=_READ,
        )
    },
    "/templates": {
        "get": Operation(
            "All templates and what is wrong with them",
            {
                200: Answer("The page; JSON for `Accept: application/json`.", {**PAGE, JSON: TemplatesAnswer}),
                500: _NOT_VALID,
            },
        )
    },
    "/templates/{name}": {
        "get": Operation(
            "The texts of a template, with example data",
            {
                200: Answer("The page; JSON for `Accept: application/json`.", {**PAGE, JSON: Preview}),
                404: of_json("No category has this template.", ErrorAnswer),
                500: _NOT_VALID,
            },
            [Parameter("locale", "default `en`"), Parameter("time_zone", "an IANA name; default `UTC`")],
        )
    },
}


def _bearer(setting: str, text: str) -> dict[str, str]:
    return {"type": "http", "scheme": "bearer", "description": f"{text}: the setting `{setting}`"}


def _cookie(right: str) -> dict[str, str]:
    return {
        "type": "apiKey",
        "in": "cookie",
        "name": f"notify_{{region}}_{right}",
        "description": f"a browser's session, from `/login` with the {right} token; a change must come from a page of the same address",
    }


VIEWS: Final = Server(
    "notify-streams: the views of a region",
    "What the role `views` serves: the region's page, its data as JSON, and writes. A browser (`Accept: text/html`) gets errors as pages.",
    {**_PAGES, **OF_EVERY_WORKER, **_PEOPLE, **_DELIVERIES},
    {
        "user_id": "1 to 128 characters",
        "category": "the name of a category",
        "channel": "push, sms or email",
        "key": "the user id, percent-encoded once more than the path needs",
        "trigger_id": "the id of the trigger",
        "name": "the name of the template",
    },
    {
        "read_token": _bearer("web_read_token", "reads users' data and dead letters"),
        "write_token": _bearer("web_write_token", "changes users' data"),
        "edge_token": _bearer("web_edge_token", "reads locations"),
        "read_session": _cookie("read"),
        "write_session": _cookie("write"),
    },
    has_pages=True,
)
