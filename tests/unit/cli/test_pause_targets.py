"""`providers pause|resume` take a provider, or a category on a channel."""

import pytest
from click import UsageError

from notify_streams.cli.providers import Target


@pytest.mark.parametrize("value", ["smtp", "email:marketing", "push:a:b"])
def test_a_provider_or_a_category_on_a_channel_is_a_target(value: str) -> None:
    assert Target().convert(value, None, None) == value


@pytest.mark.parametrize("value", ["marketing", "email:", "fax:marketing", "SMTP", ""])
def test_anything_else_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="none of fcm"):
        Target().convert(value, None, None)
