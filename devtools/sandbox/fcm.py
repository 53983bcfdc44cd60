"""FCM's HTTP v1 API, server side: reads requests, builds responses.

Sources: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages, …/v1/ErrorCode and
https://firebase.google.com/docs/cloud-messaging/error-codes (the shapes of errors).
"""

from __future__ import annotations

import itertools
import re
from typing import Annotated, Any, Literal

import msgspec

from devtools.sandbox.fault_injection import Failure
from devtools.sandbox.messages import HttpReply, IncomingMessage
from notify_streams.field_errors import DECODE_ERRORS

#: Bytes of the keys and values of notification and data together.
_LARGEST_PAYLOAD = 4096
_LONGEST_TTL_S = 2_419_200
_TOKEN = re.compile(r"[!-~]+")
_RESERVED = re.compile(r"from|message_type|google.*|gcm.*", re.DOTALL)
#: HTTP status → the canonical status of Google's APIs, FCM's own code. None: the API refuses the access token, before FCM reads the message.
_STATUS = {
    400: ("INVALID_ARGUMENT", "INVALID_ARGUMENT"),
    401: ("UNAUTHENTICATED", None),
    403: ("PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
    404: ("NOT_FOUND", "UNREGISTERED"),
    429: ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
    500: ("INTERNAL", "INTERNAL"),
    503: ("UNAVAILABLE", "UNAVAILABLE"),
}
_numbers = itertools.count(1)
_SNAKE = re.compile(r"_([a-z])")
Duration = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,12}(\.[0-9]{1,9})?s\Z")]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """FCM refuses a field that it does not know. The fields are those of the service's discovery document, fcm.v1.json."""


class Notification(_Part, frozen=True):
    title: str | None = None
    body: str | None = None
    image: str | None = None


class FcmOptions(_Part, frozen=True):
    analytics_label: str | None = None


class LightSettings(_Part, frozen=True):
    color: dict[Literal["red", "green", "blue", "alpha"], float] = {}
    light_on_duration: Duration | None = None
    light_off_duration: Duration | None = None


class AndroidNotification(_Part, frozen=True):
    title: str | None = None
    body: str | None = None
    icon: str | None = None
    color: Annotated[str, msgspec.Meta(pattern=r"^#[0-9A-Fa-f]{6}\Z")] | None = None
    sound: str | None = None
    tag: str | None = None
    click_action: str | None = None
    body_loc_key: str | None = None
    body_loc_args: list[str] = []
    title_loc_key: str | None = None
    title_loc_args: list[str] = []
    channel_id: str | None = None
    ticker: str | None = None
    sticky: bool = False
    event_time: str | None = None
    local_only: bool = False
    notification_priority: str | None = None
    default_sound: bool = False
    default_vibrate_timings: bool = False
    default_light_settings: bool = False
    vibrate_timings: list[Duration] = []
    visibility: Literal["VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"] | None = None
    notification_count: int | None = None
    light_settings: LightSettings | None = None
    image: str | None = None
    bypass_proxy_notification: bool = False
    proxy: Literal["PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"] | None = None


class AndroidConfig(_Part, frozen=True):
    priority: Literal["NORMAL", "HIGH", "normal", "high"] = "NORMAL"
    ttl: Duration = "0s"
    collapse_key: str | None = None
    restricted_package_name: str | None = None
    data: dict[str, str] = {}
    notification: AndroidNotification = AndroidNotification()
    fcm_options: FcmOptions = FcmOptions()
    direct_boot_ok: bool = False
    bandwidth_constrained_ok: bool = False
    restricted_satellite_ok: bool = False


class ApnsFcmOptions(_Part, frozen=True):
    analytics_label: str | None = None
    image: str | None = None


class ApnsConfig(_Part, frozen=True):
    headers: dict[str, str] = {}
    payload: dict[str, Any] = {}
    fcm_options: ApnsFcmOptions = ApnsFcmOptions()
    live_activity_token: str | None = None


class WebpushFcmOptions(_Part, frozen=True):
    link: str | None = None
    analytics_label: str | None = None


class WebpushConfig(_Part, frozen=True):
    headers: dict[str, str] = {}
    data: dict[str, str] = {}
    notification: dict[str, Any] = {}
    fcm_options: WebpushFcmOptions = WebpushFcmOptions()


class Message(_Part, frozen=True):
    name: str | None = None
    token: str | None = None
    data: dict[str, str] = {}
    notification: Notification = Notification()
    android: AndroidConfig = AndroidConfig()
    apns: ApnsConfig = ApnsConfig()
    webpush: WebpushConfig = WebpushConfig()
    fcm_options: FcmOptions = FcmOptions()


class SendMessageRequest(_Part, frozen=True):
    message: Message
    validate_only: bool = False


_decode_camel = msgspec.json.Decoder(SendMessageRequest).decode
#: fields whose content has names of the sender
_FREE_FORM = frozenset(("data", "headers", "payload", "color"))


def decode(body: bytes) -> SendMessageRequest:
    """The request. As in every API of Google, a field may also be named in snake_case (https://protobuf.dev/programming-guides/json/).

    Raises:
        msgspec.DecodeError, UnicodeDecodeError: FCM would refuse it.
    """
    try:
        return _decode_camel(body)
    except msgspec.ValidationError:
        return msgspec.convert(_in_camel_case(msgspec.json.decode(body)), SendMessageRequest)


def _in_camel_case(value: Any, free_form: frozenset[str] = _FREE_FORM) -> Any:
    if isinstance(value, list):
        return [_in_camel_case(one, free_form) for one in value]
    if not isinstance(value, dict):
        return value
    renamed = {}
    for name, one in value.items():
        inside = _FREE_FORM | {"notification"} if name == "webpush" else free_form
        renamed[_SNAKE.sub(lambda found: found[1].upper(), name)] = (
            one if name in free_form else _in_camel_case(one, inside)
        )
    return renamed


def read(at: float, project: str, authorization: str | None, body: bytes) -> IncomingMessage | HttpReply:
    """The message of a `messages:send` call, or FCM's response to one that is refused or only validated."""
    if not (authorization or "").startswith("Bearer ") or authorization == "Bearer ":
        return _reply(401, "Request had invalid authentication credentials.", [])
    try:
        message = decode(body)
    except DECODE_ERRORS as problem:
        return _reply(400, f"Invalid JSON payload received. {problem}", [_bad_request("message", str(problem))])
    found = _checked(at, message.message, body)
    if message.validate_only and isinstance(found, IncomingMessage):
        return HttpReply(200, {"name": f"projects/{project}/messages/fake_message_id"})
    return found


def _checked(at: float, message: Message, body: bytes) -> IncomingMessage | HttpReply:
    if message.token is None:
        return _invalid("message", "Recipient of the message is not set.")
    if not _TOKEN.fullmatch(message.token):
        return _reply(
            400, "The registration token is not a valid FCM registration token", [_fcm_error("INVALID_ARGUMENT")]
        )
    if any(map(_RESERVED.fullmatch, message.data)):
        return _invalid("message.data", "Invalid data payload key")
    if float(message.android.ttl[:-1]) > _LONGEST_TTL_S:
        return _invalid("message.android.ttl", f"Invalid TTL: at most {_LONGEST_TTL_S}s")
    notification = {name: text for name, text in msgspec.structs.asdict(message.notification).items() if text}
    parts = itertools.chain(notification.items(), message.data.items())
    if sum(len(name.encode()) + len(text.encode()) for name, text in parts) > _LARGEST_PAYLOAD:
        return _invalid("message", "Android message is too big")
    return IncomingMessage(at, "fcm", "push", message.token, message.data, body)


def accepted(project: str) -> HttpReply:
    return HttpReply(200, {"name": f"projects/{project}/messages/{next(_numbers)}"})


def dead() -> HttpReply:
    return _reply(404, "Requested entity was not found.", [_fcm_error("UNREGISTERED")])


def failed(failure: Failure) -> HttpReply:
    code = failure.code or _STATUS.get(failure.status, ("", "UNSPECIFIED_ERROR"))[1]
    details = [] if code is None else [_fcm_error(code)]
    return _reply(failure.status, "refused by the sandbox", details, failure.retry_after_s)


def _invalid(field: str, description: str) -> HttpReply:
    return _reply(400, description, [_bad_request(field, description), _fcm_error("INVALID_ARGUMENT")])


def _bad_request(field: str, description: str) -> dict[str, Any]:
    violations = [{"field": field, "description": description}]
    return {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}


def _fcm_error(code: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}


def _reply(status: int, text: str, details: list[dict[str, Any]], retry_after_s: float | None = None) -> HttpReply:
    """An error in the form of Google's APIs."""
    content: dict[str, Any] = {"code": status, "message": text, "status": _STATUS.get(status, ("UNKNOWN", ""))[0]}
    if details:
        content["details"] = details
    return HttpReply(status, {"error": content}, retry_after_s)
