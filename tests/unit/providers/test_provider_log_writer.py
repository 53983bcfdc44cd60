"""The provider log: appended, continued after a kill, read from a position."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from devtools.sandbox.provider_log import ProviderLogWriter
from notify_streams.admin.audit.provider_log import AcceptedMessage, contact_sha, read_provider_log
from tests.builders import an_acceptance


def a_line(number: int, **but: Any) -> AcceptedMessage:
    values: dict[str, Any] = {"at": 1.5, "delivery_id": f"d-{number}", "to_sha": contact_sha("someone")}
    return an_acceptance(**(values | but))


async def test_a_line_is_in_the_file_when_append_returns(tmp_path: Path) -> None:
    log = ProviderLogWriter(tmp_path / "r")
    await log.append(a_line(1, decided_at="17"))
    (line,) = read_provider_log(tmp_path / "r")
    assert line.delivery_id == "d-1" and line.decided_at == "17"
    log.close()


async def test_lines_appended_together_are_all_written_even_if_one_waiter_is_cancelled(tmp_path: Path) -> None:
    log = ProviderLogWriter(tmp_path / "r")
    waiting = [asyncio.ensure_future(log.append(a_line(n))) for n in range(100)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.gather(*waiting[1:])
    assert [line.delivery_id for line in read_provider_log(tmp_path / "r")] == [f"d-{n}" for n in range(100)]
    log.close()


async def test_reading_resumes_at_a_position(tmp_path: Path) -> None:
    log = ProviderLogWriter(tmp_path / "r")
    for number in range(3):
        await log.append(a_line(number))
    first = next(read_provider_log(tmp_path / "r"))
    assert [line.delivery_id for line in read_provider_log(tmp_path / "r", first.resume_at)] == ["d-1", "d-2"]
    last = list(read_provider_log(tmp_path / "r"))[-1]
    assert list(read_provider_log(tmp_path / "r", last.resume_at)) == []
    await log.append(a_line(3))
    assert [line.delivery_id for line in read_provider_log(tmp_path / "r", last.resume_at)] == ["d-3"]
    log.close()


async def test_an_incomplete_line_is_not_read_and_is_removed_by_the_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "r"
    log = ProviderLogWriter(path)
    await log.append(a_line(1))
    log.close()
    complete = path.read_bytes()
    path.write_bytes(complete + complete[:40])
    assert [line.delivery_id for line in read_provider_log(path)] == ["d-1"]

    again = ProviderLogWriter(path)
    await again.append(a_line(2))
    assert [line.delivery_id for line in read_provider_log(path)] == ["d-1", "d-2"]
    again.close()


async def test_a_file_of_one_incomplete_line_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b'{"at":' * 20_000)
    log = ProviderLogWriter(tmp_path / "r")
    await log.append(a_line(1))
    assert [line.delivery_id for line in read_provider_log(tmp_path / "r")] == ["d-1"]
    log.close()


INVALID_LINES = [b"{}\n", b"\xff\n", b'{"at":"\xff"}\n', b"\n", b"\0\0\n", b"[" * 100_000 + b"\n"]


@pytest.mark.parametrize("line", INVALID_LINES, ids=lambda line: repr(line[:12]))
def test_an_invalid_line_is_left_out_and_said_once(tmp_path: Path, line: bytes) -> None:
    first, last = (msgspec.json.encode(a_line(n)) + b"\n" for n in (1, 2))
    (tmp_path / "r").write_bytes(first + line + last)
    found: list[int] = []
    assert [one.delivery_id for one in read_provider_log(tmp_path / "r", 0, found.append)] == ["d-1", "d-2"]
    assert found == [len(first + line)]


def test_an_invalid_line_is_logged_without_its_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "r").write_bytes(b'{"to":"ada@example.org"}\n')
    assert list(read_provider_log(tmp_path / "r")) == []
    (line,) = caplog.records
    assert (line.__dict__["action"], line.__dict__["ends_at"]) == ("provider_log.invalid_line", 25)
    assert "ada@" not in caplog.text


def test_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert list(read_provider_log(tmp_path / "none")) == []


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    log = ProviderLogWriter(tmp_path / "r")
    with pytest.raises(BlockingIOError):
        ProviderLogWriter(tmp_path / "r")
    log.close()
    ProviderLogWriter(tmp_path / "r").close()
