"""`providers pause|resume` take a provider, or a category on a channel."""

import pytest
from click import UsageError
from click.testing import CliRunner

from devtools.stack.paths import PROJECT
from notify_streams.cli.main import main
from notify_streams.cli.providers import Target


@pytest.mark.parametrize("value", ["smtp", "email:marketing", "push:a:b"])
def test_a_provider_or_a_category_on_a_channel_is_a_target(value: str) -> None:
    assert Target().convert(value, None, None) == value


@pytest.mark.parametrize("value", ["marketing", "email:", "fax:marketing", "SMTP", ""])
def test_anything_else_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="none of fcm"):
        Target().convert(value, None, None)


@pytest.mark.parametrize("target", ["email:marketting", "sms:marketing", "push:email:marketing"])
def test_what_no_category_of_the_settings_has_cannot_be_paused(target: str) -> None:
    """It would be said to be paused while its messages are sent. Nothing is connected to: Kafka and MongoDB are not there."""
    environ = {"NOTIFY_CONFIG_DIR": str(PROJECT / "config")}
    done = CliRunner().invoke(main, ["providers", "pause", target], env=environ)
    assert done.exit_code == 1 and "no category" in done.output and "there are payments, marketing" in done.output
