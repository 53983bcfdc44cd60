"""What the sandbox keeps of accepted messages, and how it reads what is hostile."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from devtools.sandbox.seen.kept_messages import MAX_CONTENT, KeptMessages
from devtools.sandbox.seen.links import Links, trigger_id_of, visible
from devtools.sandbox.seen.seen import MAX_SHOWN, search
from devtools.sandbox.seen.views import SeenViews
from notify_streams.admin.audit.provider_log import AcceptedMessage
from notify_streams.records.ids import notification_id

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler


def line(delivery_id: str, channel: str = "push", provider: str = "fcm") -> AcceptedMessage:
    return AcceptedMessage(
        at=1.0,
        done=2.0,
        provider=provider,
        channel=channel,
        delivery_id=delivery_id,
        notification_id=delivery_id.rpartition(".")[0],
        attempt=1,
        possible_duplicate=False,
        critical=False,
        to_sha="",
    )


def ids(kept: KeptMessages) -> list[str]:
    return [one.line.delivery_id for one in kept.all()]


class TestKeptMessages:
    def test_the_oldest_are_dropped_beyond_the_number(self) -> None:
        kept = KeptMessages(max_messages=3)
        for number in range(10):
            kept.add(line(f"d-{number}"), "token", b"{}")
        assert ids(kept) == ["d-7", "d-8", "d-9"]
        assert kept.bytes == sum(one.size for one in kept.all())

    @pytest.mark.parametrize("long", ["content", "to", "id"])
    def test_the_oldest_are_dropped_beyond_the_bytes(self, long: str) -> None:
        kept = KeptMessages(max_bytes=100_000)
        for number in range(100):
            text = "x" * 10_000
            kept.add(
                line(f"d-{number}{text if long == 'id' else ''}"),
                text if long == "to" else "token",
                text.encode() if long == "content" else b"{}",
            )
            assert kept.bytes <= 100_000
        assert 3 < len(kept.all()) < 10
        assert kept.all()[-1].number == 100

    def test_what_is_longer_than_all_bytes_is_not_kept(self) -> None:
        kept = KeptMessages(max_bytes=100_000)
        kept.add(line("d-1"), "token", b"{}")
        kept.add(line("d-2"), "x" * 200_000, b"{}")
        assert (ids(kept), kept.bytes) == ([], 0)

    def test_a_long_content_is_cut(self) -> None:
        kept = KeptMessages()
        kept.add(line("d-1"), "token", b"x" * MAX_CONTENT)
        kept.add(line("d-2"), "token", b"x" * 1_000_000)
        assert [(len(one.content), one.is_cut) for one in kept.all()] == [(MAX_CONTENT, False), (MAX_CONTENT, True)]

    def test_a_message_is_found_by_its_number_while_it_is_kept(self) -> None:
        kept = KeptMessages(max_messages=2)
        assert kept.numbered(1) is None
        for number in range(1, 5):
            kept.add(line(f"d-{number}"), "token", b"{}")
        found = [kept.numbered(number) for number in range(7)]
        assert [one and one.line.delivery_id for one in found] == [None, None, None, "d-3", "d-4", None, None]


#: Each takes seconds or raises in the email package, if nothing bounds it.
MAILS = {
    "many parameters": b"Content-Type: text/html" + b"".join(b';a*%d*="x"' % at for at in range(5_000)) + b"\r\n\r\nhi",
    "nested comments": b"Content-Type: multipart/mixed; boundary=" + b"(" * 60_000 + b"\r\n\r\nhi",
    "nested parts": b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(999)
    ),
    "many parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    + b"--b\r\nContent-Type: text/plain\r\n\r\n" * 1_700,
    "a character set that decodes no text": b"Content-Type: text/plain; charset=idna\r\n\r\n\xff",
    "an unknown character set": b"Content-Type: text/plain; charset=none\r\n\r\n\xff",
    "lone surrogates": b"Subject: =?utf-8?q?=FF?= \xff\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n+2AA-",
    "not a mail": b"\0" * 60_000,
}


class TestSearch:
    @pytest.mark.parametrize("content", MAILS.values(), ids=MAILS)
    def test_no_mail_hides_the_others_or_takes_long(self, content: bytes) -> None:
        kept = KeptMessages()
        kept.add(line("before.email", "email"), "a@b.example", b"Subject: before\r\n\r\nhi")
        kept.add(line("hostile.email", "email"), "a@b.example", content)
        began = time.process_time()
        seen = search(kept.all(), "", Links())
        assert msgspec.json.encode(seen)
        assert time.process_time() - began < 5
        _, before = seen.shown["email"]
        assert before.mail is not None and before.mail.subject == "before"

    def test_a_mail_of_many_parts_is_listed_without_them(self) -> None:
        kept = KeptMessages()
        kept.add(line("d.email", "email"), "a@b.example", MAILS["many parts"])
        (one,) = search(kept.all(), "", Links()).shown["email"]
        assert (one.to, one.mail) == ("a@b.example", None)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"[]",
            b"{",
            b"\xff",
            b'{"message":{"token":"t","data":{"a":1}}}',
            b'{"headers":{},"payload":{"aps":{"alert":7}}}',
            b'{"headers":{},"payload":"text"}',
        ],
    )
    @pytest.mark.parametrize(
        ("channel", "provider"), [("push", "fcm"), ("push", "apns"), ("push", "web_push"), ("sms", "twilio")]
    )
    def test_what_is_not_complete_is_listed_all_the_same(self, channel: str, provider: str, content: bytes) -> None:
        kept = KeptMessages()
        kept.add(line(f"d.{channel}", channel, provider), "token", content)
        assert len(search(kept.all(), "", Links()).shown[channel]) == 1

    def test_the_newest_are_shown_and_all_are_counted(self) -> None:
        kept = KeptMessages()
        for number in range(MAX_SHOWN + 5):
            kept.add(line(f"d-{number}"), "token", b"{}")
        seen = search(kept.all(), "D-", Links())
        assert (seen.kept, seen.found["push"]) == (MAX_SHOWN + 5, MAX_SHOWN + 5)
        assert [one.number for one in seen.shown["push"]] == list(range(MAX_SHOWN + 5, 5, -1))

    def test_the_badge_is_read_from_either_platform(self) -> None:
        kept = KeptMessages()
        kept.add(line("d-1"), "t", b'{"message":{"token":"t","apns":{"payload":{"aps":{"badge":3}}}}}')
        kept.add(line("d-2"), "t", b'{"message":{"token":"t","android":{"notification":{"notificationCount":0}}}}')
        kept.add(line("d-3"), "t", b'{"message":{"token":"t","apns":{"payload":{"aps":{"badge":true}}}}}')
        kept.add(line("d-4", provider="apns"), "t", b'{"headers":{},"payload":{"aps":{"alert":"hi","badge":4}}}')
        shown = search(kept.all(), "", Links()).shown["push"]
        assert [one.push and one.push.badge for one in shown] == [4, None, 0, 3]
        assert shown[0].push is not None and shown[0].push.body == "hi"


class TestLinks:
    @pytest.mark.parametrize(
        "trigger_id", ["t-1", "a b", "$(touch x)", "it's", "-rf", "\u202eabc'\\", "a\nb", "😀\U000e0001", "größe"]
    )
    def test_a_shell_reads_the_id_as_it_is(self, trigger_id: str) -> None:
        command = Links("eu").why(trigger_id)
        script = f"notify-streams() {{ printf '%s\\0' \"$@\"; }}; {command}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, env={"LC_ALL": "C.UTF-8"}, check=True)
        words = done.stdout.decode().split("\0")[:-1]
        assert words == ["why", "--region", "eu", *(["--"] if trigger_id == "-rf" else []), trigger_id]
        assert command.isprintable()

    def test_the_view_of_a_trigger_is_linked_if_its_address_is_known(self) -> None:
        assert Links().notifications("t") is None
        assert Links(None, "http://127.0.0.1:1/").notifications("a/b?") == "http://127.0.0.1:1/notifications/a%2Fb%3F"

    @pytest.mark.parametrize("views", [None, "http://127.0.0.1:6079"])
    async def test_the_page_links_to_the_view_if_its_address_is_known(self, views: str | None) -> None:
        kept = KeptMessages()
        kept.add(line(f"{notification_id('a&b', 'u', 'payments')}.push"), "t", b'{"message":{"token":"t"}}')
        app = web.Application()
        SeenViews(kept, Links("eu", views)).add_to(app)
        async with TestClient(TestServer(app)) as client:
            html = await (await client.get("/seen")).text()
        assert "notify-streams why --region eu &#39;a&amp;b&#39;" in html
        assert ('href="http://127.0.0.1:6079/notifications/a%26b"' in html) is (views is not None)
        assert ("Authorization: Bearer" in html) is (views is not None)

    @pytest.mark.parametrize(
        ("any_client", "host", "status"),
        [(False, "127.0.0.1:8090", 403), (True, "127.0.0.1:8090", 200), (True, "rebound.example:8090", 403)],
    )
    async def test_a_container_shows_it_to_its_gateway_by_a_name_of_this_machine(
        self, any_client: bool, host: str, status: int
    ) -> None:
        @web.middleware
        async def from_the_gateway(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await handler(request.clone(remote="172.18.0.1"))

        app = web.Application(middlewares=[from_the_gateway])
        SeenViews(KeptMessages(), Links(), any_client=any_client).add_to(app)
        async with TestClient(TestServer(app)) as client:
            assert (await client.get("/seen", headers={"Host": host})).status == status

    def test_the_trigger_id_is_that_of_the_notification(self) -> None:
        assert trigger_id_of(notification_id("a-b", "u", "payments")) == "a-b"
        assert trigger_id_of("of another client") == "of another client"

    def test_only_what_changes_how_text_is_shown_is_written_out(self) -> None:
        assert visible("a ü\u202e\0\u2028") == "a ü\\u202e\\u0000\\u2028"
