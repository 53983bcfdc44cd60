"""Settings of a provider are complete, or the process does not start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from notify_streams.errors import SettingsError
from notify_streams.secret import Secret
from notify_streams.settings import ProviderSettings, load_settings

Load = Callable[..., ProviderSettings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads these settings of the providers."""

    def loaded(environ: dict[str, str] | None = None, **providers: Any) -> ProviderSettings:
        usual = {"kafka": "kafka:9092", "shards": ["mongodb://one"], "redis": "redis://r"}
        (tmp_path / "us.yaml").write_text(yaml.safe_dump({**usual, "providers": providers}))
        return load_settings("us", environ=environ or {}, config_dir=tmp_path).providers

    return loaded


def test_the_key_of_dkim_comes_from_a_file_and_is_not_shown(load: Load, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hush\n")
    key = {"NOTIFY_PROVIDERS__DKIM_KEY_FILE": str(tmp_path / "key")}
    providers = load(key, dkim_domain="example.org", dkim_selector="s1")
    assert providers.dkim_key == Secret("hush")
    assert "hush" not in repr(providers)


def test_the_settings_of_dkim_belong_together(load: Load) -> None:
    with pytest.raises(SettingsError, match=r"providers\.dkim_domain, dkim_selector and dkim_key must be set together"):
        load(dkim_domain="example.org", dkim_key="k")
