"""`notify-streams users add`: the form of devices, and how they join those that are stored."""

import pytest
from click.testing import CliRunner

from devtools.stack.paths import PROJECT
from notify_streams.cli.main import main
from notify_streams.cli.users import push_fields_with
from notify_streams.records.devices import Device
from tests.builders import contacts


@pytest.mark.parametrize("given", ["token", "pager:token", "fcm:", ":token", "FCM:token"])
def test_a_device_names_its_provider(given: str) -> None:
    done = CliRunner().invoke(main, ["users", "add", "u", "--device", given])
    assert done.exit_code == 2 and "fcm, apns, web_push" in done.output


def test_a_token_alone_is_not_given_with_devices() -> None:
    given = ["--push", "t", "--device", "fcm:t"]
    done = CliRunner().invoke(main, ["users", "add", "u", *given], env={"NOTIFY_CONFIG_DIR": str(PROJECT / "config")})
    assert done.exit_code == 1 and "--push is the only device" in done.output


PHONE, TABLET = Device("phone", "fcm"), Device("tablet", "apns")


def test_devices_are_added_to_those_that_are_stored() -> None:
    assert push_fields_with(None, [PHONE]) == {"push": None, "devices": (PHONE,)}
    assert push_fields_with(contacts(push="t"), [PHONE, TABLET])["devices"] == (Device("t"), PHONE, TABLET)
    stored = contacts(push=None, devices=(PHONE, TABLET))
    assert push_fields_with(stored, [Device("phone", "apns")])["devices"] == (Device("phone", "apns"), TABLET)
