"""`notify-streams prefs link` without the settings that links need."""

from click.testing import CliRunner

from devtools.stack.paths import PROJECT
from notify_streams.cli.main import main


def test_without_keys_it_says_which_settings_links_need() -> None:
    done = CliRunner().invoke(main, ["prefs", "link", "ada"], env={"NOTIFY_CONFIG_DIR": str(PROJECT / "config")})
    assert done.exit_code == 1
    assert "set public.urls.us and public.link_keys" in done.output
