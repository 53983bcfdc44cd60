"""The sizing page and what is made of it agree with the measured figures."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import yaml

from devtools.sizing.inputs import PEOPLE, RATE, inputs
from devtools.sizing.page import base_size, page
from devtools.sizing.plan import GIB, SURGE, Plan, memory_locations, memory_people, plan
from devtools.stack.paths import PROJECT
from notify_streams.roles import LANES, ROLES

GIVEN = inputs(PEOPLE, RATE)
FOUND = plan(GIVEN)
LIMIT = GIVEN.assumed["memory_limit_gib"] * GIB


def planned(**but: Any) -> Plan:
    return plan(replace(GIVEN, **but))


def workers(found: Plan) -> list[int]:
    return [role.workers for role in found.roles]


def test_the_page_is_as_the_script_writes_it() -> None:
    written = (PROJECT / "docs" / "sizing.md").read_text()
    assert written == page(GIVEN), "run: python -m devtools.sizing --write"


def test_the_command_prints_the_page_for_other_numbers() -> None:
    command = [sys.executable, "-m", "devtools.sizing", "--people", "1000000", "--rate", "500"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT, timeout=60)
    assert done.stdout == page(inputs(1_000_000, 500))
    assert done.stdout.startswith("# Sizing: 1,000,000 people, 500 triggers/s")


def test_every_role_has_workers_and_critical_ones_one_more_than_may_be_lost() -> None:
    for found in (FOUND, planned(people=1000, rate=1)):
        assert [role.name for role in found.roles] == list(ROLES)
        assert all(role.workers >= (3 if role.name.startswith("cri") else 2) for role in found.roles)


def test_more_people_take_more_routers_and_more_triggers_more_delivery_workers() -> None:
    people, rate = planned(people=10 * PEOPLE), planned(rate=10 * RATE)
    assert all(people.role(lane).workers > FOUND.role(lane).workers for lane in LANES)
    assert people.role("push").workers == FOUND.role("push").workers
    assert rate.role("push").cores == pytest.approx(10 * FOUND.role("push").cores)
    assert rate.role("push").workers > FOUND.role("push").workers
    assert rate.mongodb.units > FOUND.mongodb.units and rate.kafka.units > FOUND.kafka.units
    assert sum(people.money.values()) > sum(FOUND.money.values()) < sum(rate.money.values())


def test_a_router_of_the_plan_holds_the_files_of_its_people_in_its_memory() -> None:
    for lane in LANES:
        role = FOUND.role(lane)
        files = PEOPLE * GIVEN.measured["disk_tables_bytes_per_person"] / role.workers
        assert files + GIVEN.assumed["worker_base_gib"] * GIB <= role.memory <= LIMIT
        assert files < role.disk


def test_an_empty_disk_is_filled_in_the_time_that_the_measurement_calculates() -> None:
    figures = json.loads((PROJECT / "docs" / "measurements" / "tables.json").read_text())
    routers = min(FOUND.role(lane).workers for lane in LANES)
    calculated_s = figures["disk_tables_worker_recovery_s_calculated"] * figures["workers_calculated"] / routers
    assert FOUND.recovery_s == pytest.approx(calculated_s, rel=0.01)


def test_no_role_has_more_workers_than_partitions_while_it_rolls() -> None:
    assert max(workers(FOUND)) * (1 + SURGE) <= FOUND.partitions_needed + 1 <= GIVEN.settings.partitions


def test_a_core_less_than_the_load_takes_is_never_planned() -> None:
    for role in FOUND.roles:
        assert role.cores <= role.workers * GIVEN.assumed["utilisation"]


def test_all_roles_of_the_base_hold_as_many_people_as_its_routers() -> None:
    routers = min(memory_people(GIVEN, base_size(lane)[0], LIMIT) for lane in LANES)
    assert {base_size(lane)[1] for lane in LANES} == {"4Gi"}
    for role in ("registry", "views", "webhooks"):
        memory = base_size(role)[1]
        assert memory == "2Gi"
        assert memory_locations(GIVEN, 2 * GIB) >= routers, role
    assert f"for {routers // 10**6}M people" in (PROJECT / "k8s" / "base" / "standard.yaml").read_text()


def test_the_volumes_of_the_component_have_what_the_plan_says() -> None:
    volume = yaml.safe_load((PROJECT / "k8s" / "components" / "disk-tables" / "volume.yaml").read_text())
    (claim,) = volume["spec"]["volumeClaimTemplates"]
    storage = claim["spec"]["resources"]["requests"]["storage"]
    assert storage.endswith("Gi")
    assert int(storage[:-2]) * GIB >= max(role.disk for role in FOUND.roles)


def test_prices_are_named_as_examples_with_source_and_date() -> None:
    text = page(GIVEN)
    assert "**examples to replace**" in text
    assert GIVEN.prices["source"] in text and str(GIVEN.prices["date"]) in text
    file = (PROJECT / "devtools" / "sizing" / "prices.yaml").read_text()
    assert file.startswith("# EXAMPLES TO REPLACE")
