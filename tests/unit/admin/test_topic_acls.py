"""ACLs of a region's Kafka. What a role's modules read is compared in `tests.agents.test_roles`."""

import json
import shlex

import pytest
import yaml
from click.testing import CliRunner

from devtools.stack.paths import PROJECT
from notify_streams.admin.acl_formats import kafka_acls, strimzi_users
from notify_streams.admin.topic_acls import Access, Principal, principals
from notify_streams.cli.main import main
from notify_streams.errors import Refused
from notify_streams.roles import LANES, ROLES
from notify_streams.topics import all_topics
from tests.builders import some_settings

SYSTEMS = ("payments", "risk", "silent")
SETTINGS = some_settings(
    trigger_systems=SYSTEMS,
    regions=["us", "eu", "asia"],
    remote_kafka={"eu": "eu:9092", "asia": "asia:9092"},
    notification_events={"silent": False},
    edge=[{"name": "paris", "url": "https://paris"}],
)
PREFIX = "User:notify-"
FOUND = {one.name.removeprefix(PREFIX): one for one in principals(SETTINGS, PREFIX)}
EVERY_TOPIC = {spec.name for spec in all_topics(SETTINGS)}
OURS = [FOUND[role.replace("_", "-")] for role in ROLES]


def test_each_role_system_and_region_and_the_operator_has_a_principal() -> None:
    systems = {f"system-{system}" for system in SYSTEMS}
    regions = {f"{user}-from-{region}" for user in ("forward", "operator") for region in ("eu", "asia")}
    operators = {"operator", "restore", "grow"}
    assert FOUND.keys() == {role.replace("_", "-") for role in ROLES} | systems | regions | operators


@pytest.mark.parametrize("topic", sorted(EVERY_TOPIC))
def test_every_topic_has_a_writer_and_a_reader_besides_the_operator(topic: str) -> None:
    users = [one for name, one in FOUND.items() if not name.startswith(("operator", "restore", "grow"))]
    assert any(topic in one.topics("Write") for one in users)
    assert any(topic in one.topics("Read") for one in users)


def test_no_principal_has_a_right_on_a_topic_that_is_not_of_the_region() -> None:
    named = {one.name for found in FOUND.values() for one in found.accesses if one.resource == "topic"}
    assert named == EVERY_TOPIC


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_upstream_system_writes_its_triggers_and_reads_its_events_and_nothing_else(system: str) -> None:
    events = {
        Access("topic", f"notification_events.{system}", ("Read", "Describe")),
        Access("group", f"{system}.", ("Read", "Describe"), prefixed=True),
    }
    trigger = Access("topic", f"triggers.{system}", ("Write", "Describe"))
    assert {*FOUND[f"system-{system}"].accesses} == {trigger} | (set() if system == "silent" else events)


def test_only_routers_receipts_the_system_and_the_operator_write_a_systems_triggers() -> None:
    writers = {name for name, one in FOUND.items() if "triggers.payments" in one.topics("Write")}
    assert writers == {"critical", "standard", "receipts", "system-payments", "operator", "restore", "grow"}


def test_a_role_joins_its_own_group_only() -> None:
    for role, one in zip(ROLES, OURS, strict=True):
        groups = {found.name for found in one.accesses if found.resource == "group" and "Read" in found.operations}
        assert groups == {f"notify-us-{role}"}


def test_a_restore_publishes_what_every_outbox_had_and_moves_back_the_groups_without_a_ledger() -> None:
    assert FOUND["restore"].topics("Write") == EVERY_TOPIC and not FOUND["restore"].topics("Alter")
    moved = {one.name for one in FOUND["restore"].accesses if one.resource == "group" and "Read" in one.operations}
    assert moved == {f"notify-us-{role}" for role in ("critical", "standard", "registry", "receipts")}


def test_a_channel_role_reads_its_own_messages_only() -> None:
    assert FOUND["cric-push"].topics("Read") == {"cric_push"}


def test_another_region_writes_what_regions_exchange_and_reads_the_control_log() -> None:
    assert FOUND["forward-from-eu"].topics("Read") == {"region_control"}
    assert FOUND["forward-from-eu"].topics("Write") == {
        *("triggers.forwarded", "user_locations", "user_signups", "user_contacts", "user_erasures"),
        *("preference_updates", "receipts"),
    }


def test_another_region_s_operator_changes_the_placement_and_reads_what_a_restore_needs() -> None:
    groups = {Access("group", f"notify-us-{lane}", ("Describe",)) for lane in LANES}
    control = Access("topic", "region_control", ("Read", "Write", "Describe"))
    read = {Access("topic", topic, ("Read", "Describe")) for topic in ("preference_updates", "user_erasures")}
    assert {*FOUND["operator-from-eu"].accesses} == {control} | groups | read


def test_a_growth_adds_partitions_to_every_topic_and_moves_rows_but_reads_no_group() -> None:
    for operation in ("Read", "Write", "Alter"):
        assert FOUND["grow"].topics(operation) == EVERY_TOPIC
    groups = {one for one in FOUND["grow"].accesses if one.resource == "group"}
    assert groups == {Access("group", f"notify-us-{role}", ("Describe",)) for role in ROLES}


def test_only_the_operator_changes_topics_and_a_growth_their_partitions() -> None:
    changers = [name for name, one in FOUND.items() if one.topics("Create") | one.topics("AlterConfigs")]
    assert changers == ["operator"]
    assert {name for name, one in FOUND.items() if one.topics("Alter")} == {"operator", "grow"}
    assert FOUND["operator"].topics("Create") == FOUND["operator"].topics("Read") == EVERY_TOPIC


@pytest.mark.parametrize(
    ("systems", "why"),
    [
        (["pay_x", "pay-x"], "system-pay-x and system-pay_x would be one principal"),
        (["pay", "pay.x"], r"groups of the upstream system pay, pay\.…, include pay\.x\."),
    ],
)
def test_rights_that_would_be_shared_by_accident_are_refused(systems: list[str], why: str) -> None:
    with pytest.raises(Refused, match=why):
        principals(some_settings(trigger_systems=systems), PREFIX)


def test_groups_of_a_system_are_not_those_of_roles() -> None:
    settings = some_settings(trigger_systems=["notify-a"], region="a.b", regions=["a.b"])
    with pytest.raises(Refused, match=r"include notify-a\.b-critical"):
        principals(settings, PREFIX)


def test_both_formats_say_the_same() -> None:
    every = [*FOUND.values()]
    rights = {
        (one.name, found.resource, found.name, found.prefixed, operation)
        for one in every
        for found in one.accesses
        for operation in found.operations
    }
    by_command = set()
    for line in kafka_acls(every, "kafka:9092"):
        words = shlex.split(line)
        assert words[:6] == [
            "kafka-acls.sh",
            "--bootstrap-server",
            "kafka:9092",
            "--command-config",
            "admin.properties",
            "--add",
        ]
        options = list(zip(words[6::2], words[7::2], strict=True))
        given = {name: {value for other, value in options if other == name} for name, _ in options}
        by_command |= {
            (*given["--allow-principal"], kind, name, "--resource-pattern-type" in given, operation)
            for kind in ("topic", "group")
            for name in given.get(f"--{kind}", ())
            for operation in given["--operation"]
        }
    by_resource = set()
    for user in yaml.safe_load_all(strimzi_users(every, "main")):
        assert (user["apiVersion"], user["kind"]) == ("kafka.strimzi.io/v1", "KafkaUser")
        assert user["metadata"]["labels"] == {"strimzi.io/cluster": "main"}
        for acl in user["spec"]["authorization"]["acls"]:
            found = acl["resource"]
            by_resource |= {
                (
                    f"User:{user['metadata']['name']}",
                    found["type"],
                    found["name"],
                    found["patternType"] == "prefix",
                    one,
                )
                for one in acl["operations"]
            }
    assert by_command == by_resource == rights


@pytest.mark.parametrize("name", ["notify-push", "User:Notify-push", "User:CN=push", "User:" + "a" * 65])
def test_a_name_that_kubernetes_does_not_allow_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="cannot be a KafkaUser"):
        strimzi_users([Principal(name, ())], "main")


def test_the_command_connects_to_nothing() -> None:
    def output(*options: str) -> str:
        done = CliRunner().invoke(
            main, ["topics", "acls", *options], env={"NOTIFY_CONFIG_DIR": str(PROJECT / "config")}
        )
        assert done.exit_code == 0, done.output
        return done.output

    assert "--allow-principal User:a-push" in output("--principal-prefix", "User:a-")
    assert "name: notify-push" in output("--format", "strimzi")
    assert json.loads(output("--json"))["principals"][0]["name"] == "User:notify-critical"
