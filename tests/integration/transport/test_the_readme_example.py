"""Runs the example of the transport's README, with other topic names."""

from pathlib import Path
from typing import Any

import faust
import pytest

import notify_streams.transport
from tests.integration.transport.conftest import Running
from tests.integration.transport.kafka_topics import a_topic, fill, read, unique, until_committed


async def test_the_readme_example_runs(
    kafka_bootstrap: str, running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    readme = Path(notify_streams.transport.__file__).with_name("README.md").read_text()
    example = readme.partition("```python\n")[2].partition("```")[0]
    source, target = await a_topic(kafka_bootstrap, 1), await a_topic(kafka_bootstrap, 1)
    example = example.replace('"shouted"', f'"{target}"').replace('topic(app, "orders")', f'topic(app, "{source}")')
    example = example.replace('App("orders"', f'App("{unique("orders")}"')
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    monkeypatch.setenv("KAFKA", kafka_bootstrap)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    exec(example, names)
    app = names["app"]
    assert isinstance(app, faust.App)
    app.conf.web_enabled = False
    await fill(kafka_bootstrap, source, 0, [b"one", b"two"])
    async with running(app):
        assert [record.value for record in await read(kafka_bootstrap, target, 2)] == [b"ONE", b"TWO"]
        await until_committed(kafka_bootstrap, app.conf.id, source, 2)
