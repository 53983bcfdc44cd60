"""The sandbox refuses what the providers' documents say that they refuse, with their codes."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import urlencode

import aiohttp
import aiosmtplib
import orjson
import pytest

FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


def push(**but: Any) -> dict[str, Any]:
    return {"message": {"token": "t:1-2_3", "notification": {"title": "T", "body": "B"}} | but}


PUSHES = [
    pytest.param(push(), None, id="a good one"),
    pytest.param(push(notification={"body": "x" * 4092}), None, id="the largest"),
    pytest.param(push(notification={"body": "x" * 4093}), "message", id="too large"),
    pytest.param(push(notification={"body": "漢" * 1365}), "message", id="too large in bytes"),
    pytest.param(push(data={"k": "x" * 2050}, notification={"body": "x" * 2050}), "message", id="too large together"),
    pytest.param(push(data={"k": 12}), "message", id="a number as data"),
    pytest.param(push(data={"google.x": "1"}), "message.data", id="a reserved key"),
    pytest.param(push(android={"ttl": "2419201s"}), "message.android.ttl", id="a long ttl"),
    pytest.param(push(android={"ttl": "5"}), "message", id="a ttl without its unit"),
    pytest.param(push(android={"ttl": "-5s"}), "message", id="a negative ttl"),
    pytest.param(push(android={"ttl": 5}), "message", id="a ttl that is a number"),
    pytest.param(push(android={"collapse_key": "k", "directBootOk": True}), None, id="both spellings of a field"),
    pytest.param(push(android={"collapsekey": "k"}), "message", id="an unknown field of android"),
    pytest.param(
        push(android={"notification": {"channel": "c"}}), "message", id="an unknown field of its notification"
    ),
    pytest.param(push(android={"priority": "urgent"}), "message", id="an unknown priority"),
    pytest.param(push(notification={"text": "B"}), "message", id="an unknown field of notification"),
    pytest.param(
        push(apns={"payload": {"aps": {"x_y": 1}}, "headers": {"apns-id": "1"}}), None, id="any payload of APNs"
    ),
    pytest.param(push(apns={"aps": {}}), "message", id="an unknown field of apns"),
    pytest.param(push(apns={"headers": {"apns-priority": 5}}), "message", id="a number as header"),
    pytest.param(push(webpush={"notification": {"my_own": 1}, "fcm_options": {"link": "/"}}), None, id="web push"),
    pytest.param(push(webpush={"ttl": "5s"}), "message", id="an unknown field of webpush"),
    pytest.param({"message": {"token": "t"}, "dry_run": True}, "message", id="an unknown field beside the message"),
    pytest.param(push(unknown=1), "message", id="an unknown field"),
    pytest.param({"message": {"notification": {"body": "B"}}}, "message", id="no recipient"),
    pytest.param(push(token="a b"), FCM_ERROR, id="no token"),
]


@pytest.mark.parametrize(("body", "problem"), PUSHES)
async def test_fcm(sandbox: Any, body: dict[str, Any], problem: str | None) -> None:
    url = f"{sandbox.url}/v1/projects/p/messages:send"
    async with aiohttp.request("POST", url, data=orjson.dumps(body), headers={"Authorization": "Bearer x"}) as response:
        content = await response.json()
    if problem is None:
        assert response.status == 200, content
        return
    error = content["error"]
    assert (response.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    details = {detail["@type"]: detail for detail in error["details"]}
    if problem == FCM_ERROR:
        assert set(details) == {FCM_ERROR}
        assert details[FCM_ERROR]["errorCode"] == "INVALID_ARGUMENT"
    else:
        assert details[BAD_REQUEST]["fieldViolations"][0]["field"] == problem


@pytest.mark.parametrize(
    ("status", "canonical", "code"),
    [
        (403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
        (429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
        (500, "INTERNAL", "INTERNAL"),
        (503, "UNAVAILABLE", "UNAVAILABLE"),
    ],
)
async def test_faults_of_fcm_have_its_form(sandbox: Any, status: int, canonical: str, code: str) -> None:
    await sandbox.control(provider="fcm", fail={"status": status})
    url = f"{sandbox.url}/v1/projects/p/messages:send"
    async with aiohttp.request(
        "POST", url, data=orjson.dumps(push()), headers={"Authorization": "Bearer x"}
    ) as response:
        error = (await response.json())["error"]
    assert (response.status, error["status"], error["details"][0]["errorCode"]) == (status, canonical, code)


FORMS = [
    ({}, None),
    ({"Body": "x" * 1600}, None),
    ({"Body": "x" * 1601}, 21617),
    ({"Body": "😀" * 800}, None),
    ({"Body": "😀" * 801}, 21617),
    ({"Body": " "}, 21602),
    ({"Body": ""}, 21602),
    ({"To": ""}, 21604),
    ({"To": "12025550100"}, 21211),
    ({"To": "+1202555"}, None),
    ({"To": "+0202555010"}, 21211),
    ({"To": "+1234567890123456"}, 21211),
    ({"To": "+15550000000"}, 21266),
    ({"From": ""}, 21603),
    ({"From": "+1"}, 21212),
    ({"From": "", "MessagingServiceSid": "MG1"}, 21701),
    ({"From": "", "MessagingServiceSid": "MG" + "0" * 32}, None),
    ({"StatusCallback": "https://r.example/" + "x" * 4000}, 21609),
    ({"StatusCallback": "r.example"}, 21609),
    ({"StatusCallback": "https://the_reports.example/x"}, 21609),
    ({"StatusCallback": "https://r.example/x?a=1#rc=5&rp=all"}, None),
    ({"ValidityPeriod": "36001"}, 21624),
    ({"ValidityPeriod": "0"}, 21624),
]


@pytest.mark.parametrize(("but", "code"), FORMS, ids=str)
async def test_twilio(sandbox: Any, but: dict[str, str], code: int | None) -> None:
    form = {"To": "+12025550100", "From": "+15550000000", "Body": "hi"} | but
    headers = {
        "Authorization": "Basic " + b64encode(b"AC1:secret").decode(),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    url = f"{sandbox.url}/2010-04-01/Accounts/AC1/Messages.json"
    async with aiohttp.request("POST", url, data=urlencode(form), headers=headers) as response:
        content = await response.json()
    assert (response.status, content.get("code")) == ((201, None) if code is None else (400, code))
    assert code is None or (content["status"], content["more_info"]) == (
        400,
        f"https://www.twilio.com/docs/errors/{code}",
    )


HEAD = b"From: f@example.org\r\nDate: Fri, 27 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
MAIL = HEAD + b"\r\nhi\r\n"
MAILS = [
    pytest.param({}, 250, id="a good one"),
    pytest.param({"mail": HEAD + b"\r\n.\r\n..\r\n" + b"x" * 998 + b"\r\n"}, 250, id="dots and a longest line"),
    pytest.param({"mail": HEAD + b"X: " + b"x" * 996 + b"\r\n\r\nhi\r\n"}, 500, id="a long header line"),
    pytest.param({"mail": HEAD + b"\r\n" + b"x" * 999 + b"\r\n"}, 500, id="a long line"),
    pytest.param({"mail": HEAD + b"\r\n" + (b"x" * 998 + b"\r\n") * 11_000}, 552, id="more than SIZE"),
    pytest.param({"options": ["SIZE=11000000"]}, 552, id="announced as more than SIZE"),
    pytest.param({"sender": ""}, 501, id="the null sender"),
    pytest.param({"to": "j\u00f6rg@example.org"}, 553, id="non-ASCII without SMTPUTF8"),
    pytest.param({"to": "j\u00f6rg@example.org", "options": ["SMTPUTF8"]}, 250, id="non-ASCII with SMTPUTF8"),
    pytest.param({"to": "x" * 65 + "@example.org"}, 501, id="a long local part"),
    pytest.param({"to": "a@" + "x." * 130 + "org"}, 501, id="a long path"),
    pytest.param({"to": "x" * 600 + "@example.org"}, 500, id="a long command"),
    pytest.param({"to": "a@-x.org"}, 501, id="no domain name"),
    pytest.param({"mail": HEAD + b"\r\nh\xc3\xb6\r\n"}, 554, id="8-bit content without 8BITMIME"),
    pytest.param({"mail": HEAD + b"\r\nh\xc3\xb6\r\n", "options": ["BODY=8BITMIME"]}, 250, id="with 8BITMIME"),
    pytest.param({"mail": HEAD + b"To: \xc3\xb6\r\n\r\n", "options": ["BODY=8BITMIME"]}, 550, id="8-bit header"),
    pytest.param({"mail": b"\r\nhi\r\n"}, 550, id="no headers"),
    pytest.param({"mail": HEAD + HEAD + b"\r\nhi\r\n"}, 550, id="headers twice"),
    pytest.param({"mail": MAIL.replace(b"<1@example.org>", b"1")}, 550, id="no message id"),
]


@pytest.mark.parametrize(("but", "code"), MAILS)
async def test_smtp(sandbox: Any, but: dict[str, Any], code: int) -> None:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=sandbox.ports["smtp"], start_tls=False) as client:
        await client.ehlo()
        try:
            await client.mail(but.get("sender", "f@example.org"), options=but.get("options"), encoding="utf-8")
            await client.rcpt(but.get("to", "a@example.org"), encoding="utf-8")
            found = (await client.data(but.get("mail", MAIL))).code
        except aiosmtplib.SMTPResponseException as error:
            found = error.code
    assert found == code
