"""The sandbox's record can be resumed, continued and trusted after a kill."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from devtools.sandbox.acceptance_log import AcceptanceLog
from notify_streams.admin.audit.provider_log import AcceptedMessage, contact_sha, read_provider_log
from tests.builders import an_acceptance


def a_line(number: int, **but: Any) -> AcceptedMessage:
    return an_acceptance(**({"at": 1.5, "delivery_id": f"d-{number}", "to_sha": contact_sha("someone")} | but))


async def test_a_line_is_in_the_file_when_append_returns(tmp_path: Path):
    record = AcceptanceLog(tmp_path / "r")
    await record.append(a_line(1, decided_at="17"))
    (line,) = read_provider_log(tmp_path / "r")
    assert line.delivery_id == "d-1" and line.decided_at == "17"
    record.close()


async def test_lines_appended_at_once_all_arrive_even_if_one_waiter_is_gone(tmp_path: Path):
    record = AcceptanceLog(tmp_path / "r")
    waiting = [asyncio.ensure_future(record.append(a_line(n))) for n in range(100)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.gather(*waiting[1:])
    assert [line.delivery_id for line in read_provider_log(tmp_path / "r")] == [f"d-{n}" for n in range(100)]
    record.close()


async def test_reading_resumes_where_it_was_left(tmp_path: Path):
    record = AcceptanceLog(tmp_path / "r")
    for number in range(3):
        await record.append(a_line(number))
    first = next(read_provider_log(tmp_path / "r"))
    assert [line.delivery_id for line in read_provider_log(tmp_path / "r", first.resume_at)] == ["d-1", "d-2"]
    last = list(read_provider_log(tmp_path / "r"))[-1]
    assert list(read_provider_log(tmp_path / "r", last.resume_at)) == []
    await record.append(a_line(3))
    assert [line.delivery_id for line in read_provider_log(tmp_path / "r", last.resume_at)] == ["d-3"]
    record.close()


async def test_half_a_line_is_not_read_and_does_not_spoil_the_next(tmp_path: Path):
    path = tmp_path / "r"
    record = AcceptanceLog(path)
    await record.append(a_line(1))
    record.close()
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert [line.delivery_id for line in read_provider_log(path)] == ["d-1"]

    again = AcceptanceLog(path)
    await again.append(a_line(2))
    assert [line.delivery_id for line in read_provider_log(path)] == ["d-1", "d-2"]
    again.close()


async def test_a_file_that_is_only_half_a_line_begins_anew(tmp_path: Path):
    (tmp_path / "r").write_bytes(b'{"at":' * 20_000)
    record = AcceptanceLog(tmp_path / "r")
    await record.append(a_line(1))
    assert [line.delivery_id for line in read_provider_log(tmp_path / "r")] == ["d-1"]
    record.close()


def test_a_spoilt_line_is_an_error_and_not_a_gap(tmp_path: Path):
    (tmp_path / "r").write_bytes(b"{}\n")
    with pytest.raises(msgspec.DecodeError):
        list(read_provider_log(tmp_path / "r"))


def test_a_record_that_is_not_there_is_empty(tmp_path: Path):
    assert list(read_provider_log(tmp_path / "none")) == []


def test_two_writers_are_refused(tmp_path: Path):
    record = AcceptanceLog(tmp_path / "r")
    with pytest.raises(BlockingIOError):
        AcceptanceLog(tmp_path / "r")
    record.close()
    AcceptanceLog(tmp_path / "r").close()
