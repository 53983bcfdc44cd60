"""The shards of other regions, which the page of a trigger asks."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from notify_streams.security import MongoSecurity, TlsSettings
from notify_streams.web.notifications import OtherRegions
from tests.builders import some_settings
from tests.unit.web.conftest import NewWorker


async def test_a_region_whose_client_cannot_be_made_is_tried_again(new_worker: NewWorker, tmp_path: Path) -> None:
    """Its shards without clients failed every later question with an internal error, also about the own region."""
    others = OtherRegions(new_worker())
    tls = TlsSettings(ca_file=str(tmp_path / "missing.pem"))
    settings = msgspec.structs.replace(some_settings(region="eu"), mongo_security=MongoSecurity(tls=tls))
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            async with others.opened(settings):
                pass
    await others.close()
