"""Which differences between topics and settings keep a worker from starting."""

from __future__ import annotations

import pytest

from notify_streams.admin.topics import TopicDifferences, changed_config, differences
from notify_streams.topics import TopicSpec

WANTED = [TopicSpec("push", 8, {"retention.ms": "1000"}), TopicSpec("sms", 8, {"retention.ms": "1000"})]


def compared(push_partitions: int | None = 8, push_retention: str | None = "1000") -> TopicDifferences:
    partitions = {"sms": 8, "of_others": 3} | ({} if push_partitions is None else {"push": push_partitions})
    config = {} if push_retention is None else {"retention.ms": push_retention}
    return differences(WANTED, partitions, {"sms": {"retention.ms": "1000"}, "push": config})


def test_topics_as_the_settings_say_have_no_difference() -> None:
    assert compared() == TopicDifferences((), ())


@pytest.mark.parametrize("count", [4, 16], ids=["fewer", "more"])
def test_another_number_of_partitions_keeps_workers_from_starting(count: int) -> None:
    found = compared(push_partitions=count)
    assert found.tolerable == ()
    assert [f"push has {count} partitions, the settings say 8" in one for one in found.blocking] == [True]


def test_a_missing_topic_keeps_workers_from_starting() -> None:
    assert compared(push_partitions=None).blocking == ("push is missing: run `notify-streams topics ensure`",)


@pytest.mark.parametrize("retention", ["2000", None], ids=["another", "none"])
def test_another_configuration_keeps_no_worker_from_starting(retention: str | None) -> None:
    found = compared(push_retention=retention)
    assert found == TopicDifferences((), (f"push: retention.ms is {retention}, should be 1000",))


def test_a_configuration_that_cannot_be_read_keeps_no_worker_from_starting() -> None:
    found = differences(WANTED, {"push": 8, "sms": 8}, {})
    assert found.blocking == ()
    (said,) = found.tolerable
    assert said.startswith("the configuration of 2 topics cannot be read (push, …)")


def entries(**found: tuple[str, int]) -> list[tuple[str, str, bool, int, bool, list[object]]]:
    return [(name.replace("_", "."), value, False, source, False, []) for name, (value, source) in found.items()]


@pytest.mark.parametrize(
    ("found", "changed"),
    [
        ({"retention_ms": ("1000", 1)}, {}),
        ({"retention_ms": ("1000", 5)}, {}),
        ({"retention_ms": ("2000", 1)}, {"retention.ms": "1000"}),
        ({}, {"retention.ms": "1000"}),
        (
            {"retention_ms": ("2000", 1), "min_insync_replicas": ("2", 1), "segment_bytes": ("9", 5)},
            {"retention.ms": "1000", "min.insync.replicas": "2"},
        ),
    ],
    ids=["as wanted", "as wanted by default", "another", "missing", "what else was set stays"],
)
def test_a_changed_setting_is_applied_and_what_else_was_set_for_the_topic_stays(
    found: dict[str, tuple[str, int]], changed: dict[str, str]
) -> None:
    assert changed_config({"retention.ms": "1000"}, entries(**found)) == changed
