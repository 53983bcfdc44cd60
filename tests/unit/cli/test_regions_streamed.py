"""What `users export` and `consent` print: one JSON object, written piece by piece, also if a region is away."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from notify_streams.cli.regions_streamed import print_each_region
from notify_streams.errors import SettingsError, StoreUnavailable
from notify_streams.preferences.categories import Categories
from notify_streams.settings import Settings
from tests.builders import some_settings

Item = tuple[str, dict[str, Any]]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    async def run(by_region: dict[str, list[Item | Exception]]) -> tuple[bool, Any]:
        def settings_of(region: str) -> Settings:
            if region not in by_region:
                raise SettingsError(f"no settings of {region}")
            return some_settings(region=region)

        async def read(settings: Settings, known: Categories, user_id: str) -> AsyncIterator[Item]:
            for item in by_region[settings.region]:
                if isinstance(item, Exception):
                    raise item
                yield item

        complete = await print_each_region(
            some_settings(regions=["us", "eu", "asia"]), 'u"1', read, as_json=True, settings_of=settings_of
        )
        return complete, json.loads(capsys.readouterr().out)

    return run


async def test_items_of_a_kind_are_one_list(printed: Callable[..., Any]) -> None:
    complete, value = await printed(
        {"us": [("registry", {"region": "us"}), ("consents", {"n": 1}), ("consents", {"n": 2})], "eu": [], "asia": []}
    )
    assert complete
    assert value == {
        "user_id": 'u"1',
        "regions": {"us": {"registry": [{"region": "us"}], "consents": [{"n": 1}, {"n": 2}]}, "eu": {}, "asia": {}},
    }


async def test_a_region_that_is_away_is_named_after_what_it_said(printed: Callable[..., Any]) -> None:
    complete, value = await printed({"us": [], "eu": [("consents", {"n": 1}), StoreUnavailable("shard 0 is away")]})
    assert not complete
    assert value["regions"]["eu"] == {"consents": [{"n": 1}], "unreachable": "shard 0 is away"}
    assert value["regions"]["asia"] == {"unreachable": "no settings of asia"}
