"""What is misspelt is refused before anything is asked: an empty list would look as if nothing were wrong."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from devtools.stack.paths import PROJECT
from notify_streams.cli.main import main

REFUSED = {
    "state of deliveries": (["deliveries", "list", "--state", "Failed"], "'expired'"),
    "state of deliveries to replay": (["deliveries", "replay", "--state", "fialed"], "'failed'"),
    "provider": (["deliveries", "list", "--provider", "twillio"], "'twilio'"),
    "reason of dead letters": (["dead-letters", "list", "--reason", "unknown-user"], "'unknown_user'"),
    "reason of dead letters to replay": (["dead-letters", "replay", "--reason", "nope"], "'not_json'"),
    "empty id": (["why", ""], "the id is empty"),
    "empty person": (["why", "--user", ""], "the id is empty"),
    "number without country": (["prefs", "address", "sms", "015550000042", "--stop"], "+15550000042"),
    "number with blanks": (["prefs", "address", "sms", "+1 555 0000042"], "+15550000042"),
    "mail address": (["prefs", "address", "email", "ada.example.org", "--allow"], "no mail address"),
}


@pytest.mark.parametrize(("words", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_misspelt_is_refused(words: list[str], says: str) -> None:
    done = CliRunner().invoke(main, words, env={"NOTIFY_CONFIG_DIR": str(PROJECT / "config")})
    assert done.exit_code in (1, 2) and says in done.output
