"""Region plans: ports and tokens stay, ports that are in use are replaced."""

from collections.abc import Collection
from itertools import count, pairwise
from pathlib import Path

from devtools.sandbox.keys import open_keys
from devtools.stack import settings_overlay
from devtools.stack.region import Region
from devtools.stack.region_plan import TOKENS, WEB_PORTS, RegionPlan, all_ports, plan_region
from notify_streams.delivery.providers import check_credentials
from notify_streams.delivery.providers.from_settings import further_push_providers
from notify_streams.roles import ROLES, VIEWS
from notify_streams.settings import load_settings


def a_plan(before: RegionPlan | None = None, **but: object) -> RegionPlan:
    first = count(100)

    def free_port(taken: Collection[int], row: int) -> int:
        return next(port for port in first if not {*range(port, port + row)} & {*taken})

    arguments = {"members": None, "external": {}, "usable": lambda name, port: True, "taken": ()} | but
    return plan_region(before, free_port=free_port, **arguments)  # type: ignore[arg-type]


def test_a_second_plan_equals_the_first() -> None:
    first = a_plan()
    assert a_plan(first) == first


def test_no_port_is_used_twice_and_the_web_ports_are_consecutive() -> None:
    plan = a_plan(members=3)
    assert len(all_ports([plan])) == len(plan.ports) - 1 + WEB_PORTS
    assert {"shard0.0", "shard0.2", "shard1.2", "kafka.controller"} <= plan.ports.keys()


def test_only_a_port_that_is_not_usable_is_replaced() -> None:
    first = a_plan()
    second = a_plan(first, usable=lambda name, port: name != "redis", taken=all_ports([first]))
    moved = {name for name in first.ports if first.ports[name] != second.ports[name]}
    assert moved == {"redis"}


def test_ports_of_other_regions_are_not_used() -> None:
    us = a_plan()
    eu = a_plan(taken=all_ports([us]))
    assert not all_ports([us]) & all_ports([eu])


def test_the_number_of_members_stays_unless_given() -> None:
    assert a_plan(a_plan(members=3)).members == 3
    assert a_plan(a_plan(members=3), members=1).members == 1
    assert a_plan().members == 1


def test_tokens_are_random_and_stay() -> None:
    first, other = a_plan(), a_plan()
    tokens = [*first.tokens.values(), *other.tokens.values()]
    assert len(set(tokens)) == 2 * len(TOKENS) and min(map(len, tokens)) >= 32
    assert a_plan(first).tokens == first.tokens


def test_the_settings_of_a_region_have_the_sandbox_s_credentials_of_each_push_provider(tmp_path: Path) -> None:
    region = Region("us", tmp_path, a_plan())
    open_keys(region.sandbox.folder / "keys")
    settings_overlay.write(tmp_path / "us.yaml", settings_overlay.overlay(region, {}))
    settings = load_settings("us", environ={}, overlay=tmp_path / "us.yaml").providers
    check_credentials(settings, "push")
    assert further_push_providers(settings) == ["apns", "web_push"]
    assert settings.sandbox_channels() == {"push", "sms", "email"}
    assert settings.apns == f"https://127.0.0.1:{region.plan.ports['sandbox.apns']}"


def test_the_sandbox_links_to_the_views_of_its_region(tmp_path: Path) -> None:
    plan = a_plan()
    command = Region("eu", tmp_path, plan).sandbox.command()
    options = dict(pairwise(command))
    assert options["--region"] == "eu"
    assert options["--views"] == f"http://127.0.0.1:{plan.ports['web'] + ROLES.index(VIEWS)}"
