"""What twilio's own package signs is accepted, and nothing that was changed since."""

from random import Random
from urllib.parse import parse_qsl, urlencode

import pytest
from twilio.request_validator import RequestValidator

from notify_streams.public.twilio_signature import is_signed

URLS = ["https://notify.us.example.com", "https://notify.eu.example.com:8443/in"]
PATH = "/webhooks/twilio?notify_delivery_id=t-1%2B2.sms&notify_attempt=1&notify_bucket=3&notify_region=us"
TOKENS = ["old-token", "the-token"]
FORM = {
    "MessageSid": "SM1",
    "MessageStatus": "delivered",
    "To": "+15550100201",
    "From": "+15550100200",
    "Body": "Grüße & mehr\n=1",
    "ErrorCode": "",
}


def check(path: str, body: bytes, signature: str | None, settings: str | None = None) -> bool:
    try:
        form = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    except ValueError:
        return False
    return is_signed(URLS, path, form, (signature, settings), TOKENS)


def with_port(url: str) -> str:
    return url.replace(".com/", ".com:443/", 1)


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize(
    "url", [URLS[0] + PATH, URLS[1] + PATH, with_port(URLS[0] + PATH), (URLS[1] + PATH).replace(":8443", "")]
)
def test_what_the_package_signs_is_accepted(url: str, token: str) -> None:
    signature = RequestValidator(token).compute_signature(url, FORM)
    assert check(PATH, urlencode(FORM).encode(), signature)
    assert not check(PATH, urlencode(FORM).encode(), RequestValidator("another").compute_signature(url, FORM))


def test_a_shared_key_signs_with_sha_256() -> None:
    signature = RequestValidator(TOKENS[0]).compute_signature(URLS[0] + PATH, FORM, "HMAC_SHA256")
    body = urlencode(FORM).encode()
    assert check(PATH, body, signature, "key=k,algorithm=HMAC_SHA256")
    assert not check(PATH, body, signature)
    assert not check(PATH, body, signature, "key=k,algorithm=NONE")


def test_a_call_without_fields() -> None:
    signature = RequestValidator(TOKENS[0]).compute_signature(URLS[0] + PATH, {})
    assert check(PATH, b"", signature)


@pytest.mark.parametrize(
    "form",
    [
        {"MessageSid": "SM1", "MessageStatusdelivered": ""},
        {"MessageSid": "SM1MessageStatusdelivered"},
        {"MessageSid": "SM1", "MessageStatu": "sdelivered"},
    ],
)
def test_another_form_with_the_same_signature_is_refused(form: dict[str, str]) -> None:
    validator = RequestValidator(TOKENS[0])
    signature = validator.compute_signature(URLS[0] + PATH, {"MessageSid": "SM1", "MessageStatus": "delivered"})
    assert validator.validate(URLS[0] + PATH, form, signature), "the package takes it"
    assert not check(PATH, urlencode(form).encode(), signature)


def test_a_status_may_have_the_name_of_a_field_of_messages_in_its_texts() -> None:
    form = {
        "MessageSid": "SM1",
        "MessageStatus": "undelivered",
        "To": "+15550100201",
        "From": "+15550100200",
        "ErrorCode": "30038",
        "ErrorMessage": "OTP Message Body Filtered",
    }
    signature = RequestValidator(TOKENS[0]).compute_signature(URLS[0] + PATH, form)
    assert check(PATH, urlencode(form).encode(), signature)


@pytest.mark.parametrize(
    "text", ["xErrorCode21610", "xMessageStatusfailedN", "MessageStatusfailedZ", "xErrorCode21610F"]
)
def test_no_text_of_a_person_makes_a_message_a_status(text: str) -> None:
    """Every way to cut what Twilio signed into fields of such names."""
    known = ("Body", "ErrorCode", "From", "MessageSid", "MessageStatus", "N", "SmsStatus", "To", "Z")
    form = {"Body": text, "From": "+15550100201", "MessageSid": "SM1", "SmsStatus": "received", "To": "+15550100200"}
    signed = "".join(name + value for name, value in form.items())
    signature = RequestValidator(TOKENS[0]).compute_signature(URLS[0] + PATH, form)
    assert check(PATH, urlencode(form).encode(), signature)

    def cuts(rest: str, after: str) -> list[dict[str, str]]:
        """The forms that `rest` could be, with names behind `after`."""
        found: list[dict[str, str]] = [] if rest else [{}]
        for name in known:
            if name > after and rest.startswith(name):
                value = rest.removeprefix(name)
                found += [
                    {name: value[:end]} | more for end in range(len(value) + 1) for more in cuts(value[end:], name)
                ]
        return found

    forms = cuts(signed, "")
    assert form in forms and len(forms) > 5
    for one in forms:
        if "MessageStatus" in one:
            assert not check(PATH, urlencode(one).encode(), signature), one


def test_a_field_that_is_there_twice_is_refused() -> None:
    class Twice(dict[str, str]):
        def getall(self, name: str) -> list[str]:
            return ["+15550100201", "+15550100202"]

    signature = RequestValidator(TOKENS[0]).compute_signature(URLS[0] + PATH, Twice(From=""))
    assert not check(PATH, b"From=%2B15550100201&From=%2B15550100202", signature)


def changed(random: Random, text: bytes) -> bytes:
    """One byte is another, missing or too much, or two places are swapped."""
    at = random.randrange(len(text))
    new = bytes([random.choice(b"abcXYZ0189%&=+/-._ \xff")])
    match random.randrange(4):
        case 0:
            return text[:at] + new + text[at + 1 :]
        case 1:
            return text[:at] + text[at + 1 :]
        case 2:
            return text[:at] + new + text[at:]
        case _:
            return text[at:] + text[:at]


def meaning(body: bytes) -> object:
    """Equal for bodies that are the same form."""
    try:
        return sorted(parse_qsl(body.decode(), keep_blank_values=True, errors="strict"))
    except ValueError:
        return None


def test_ten_thousand_changed_requests_are_refused() -> None:
    random, refused = Random(20), 0
    body = urlencode(FORM).encode()
    signature = RequestValidator(TOKENS[1]).compute_signature(URLS[0] + PATH, FORM)
    assert check(PATH, body, signature)
    while refused < 10_000:
        parts = [PATH.encode(), body, signature.encode()]
        which = random.randrange(3)
        before = parts[which]
        parts[which] = changed(random, before)
        path, form, given = parts
        if parts[which] == before or (which == 1 and meaning(form) == meaning(body)):
            continue
        assert not check(path.decode("latin-1"), form, given.decode("latin-1")), parts
        refused += 1
    assert not check(PATH, body, None) and not check(PATH, body, "")
