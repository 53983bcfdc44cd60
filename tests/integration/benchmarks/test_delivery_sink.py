"""The sink of `bench delivery`: nginx over TLS whose log has what the bare senders posted."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from devtools.benchmarks.delivery.references import GO, measure_senders, senders
from devtools.benchmarks.delivery.sink import Sink
from devtools.benchmarks.rates import RecordsMissing
from devtools.stack.nginx import nginx_program
from devtools.stack.ports import free_port


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    if nginx_program() is None:
        pytest.skip("nginx is not installed")
    one = Sink(tmp_path / "sink", free_port())
    one.start()
    yield one
    one.stop()


def a_body(number: int) -> bytes:
    data = {"notify_delivery_id": f"run-{number}-d1.push", "notify_notification_id": f"run-{number}-d1"}
    message = {"token": "token-1", "notification": {"body": 'ü "quoted" \\ and \u2028'}, "data": data}
    return json.dumps({"message": message}, ensure_ascii=False).encode()


async def test_what_each_sender_posts_is_in_the_log(sink: Sink, tmp_path: Path) -> None:
    commands = await senders(tmp_path)
    found = await measure_senders(commands, sink, tmp_path, [a_body(number) for number in range(600)])
    assert found.keys() == commands.keys()
    assert all(one.per_s > 0 and one.cpu_us > 0 for one in found.values())
    assert sink.take(0) == []
    assert sink.connections() > len(commands)


async def test_a_sender_that_leaves_one_out_has_no_figure(sink: Sink, tmp_path: Path) -> None:
    program = tmp_path / "lazy.py"
    program.write_text('print(\'{"accepted": 600, "cpu_s": 1.0}\')')
    with pytest.raises(RecordsMissing, match="0 of 600"):
        await measure_senders(
            {GO: (sys.executable, str(program))}, sink, tmp_path, [a_body(number) for number in range(600)]
        )


async def test_a_client_without_the_authority_is_refused(sink: Sink) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await http.post(sink.url, data=a_body(1))
