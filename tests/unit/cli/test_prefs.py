"""`notify-streams prefs`: links without their settings, and what is promised of a choice."""

from click.testing import CliRunner

from devtools.stack.paths import PROJECT
from notify_streams.cli.main import main
from notify_streams.cli.prefs import StoredFor, stored_lines


def test_without_keys_it_says_which_settings_links_need() -> None:
    done = CliRunner().invoke(main, ["prefs", "link", "ada"], env={"NOTIFY_CONFIG_DIR": str(PROJECT / "config")})
    assert done.exit_code == 1
    assert "set public.urls.us and public.link_keys" in done.output


def test_a_choice_stored_in_another_region_than_the_persons_is_not_promised_at_once() -> None:
    here, away = StoredFor("ada", 3, "us"), StoredFor("ada", 3, "eu")
    assert stored_lines("us", here, "offers by push is out") == ["ada: offers by push is out, version 3"]
    first, second = stored_lines("us", away, "offers by push is out")
    assert first == "ada: offers by push is out, version 3"
    assert "home region is eu" in second and "--region eu" in second
