"""What makes no progress for thirty seconds is stuck, except after a pause of the process."""

from collections.abc import Sequence

import pytest
from faust.types import TP

from notify_streams.transport.watchdog import PartitionState, Reason, Watchdog

TP0 = TP("t", 0)


def observed(
    watchdog: Watchdog, states: Sequence[PartitionState], recovering: Sequence[tuple[str, float]] = ()
) -> list[Reason]:
    """What is stuck after these states, five seconds apart."""
    for count, state in enumerate(states):
        watchdog.observe(count * 5.0, {TP0: state}, recovering)
    return [stuck.reason for stuck in watchdog.stuck]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param([PartitionState(5, 9, 5)] * 7, [Reason.NOT_PROCESSED], id="behind and still"),
        pytest.param([PartitionState(5, 9, 5)] * 6, [], id="not yet thirty seconds"),
        pytest.param([PartitionState(5, 9, 5)] * 6 + [PartitionState(5, 9, 5, 7)], [], id="within a batch"),
        pytest.param([PartitionState(5, 9, 5, 7)] * 7, [Reason.NOT_PROCESSED], id="still within a batch"),
        pytest.param([PartitionState(5, 5, 5)] * 20, [], id="nothing to do"),
        pytest.param([PartitionState(n, 100, n) for n in range(20)], [], id="behind but moving"),
        pytest.param([PartitionState(n, n, 0) for n in range(1, 9)], [Reason.NOT_COMMITTED], id="commits have stopped"),
        pytest.param([PartitionState(n, n, max(n - 3, 0)) for n in range(9)], [], id="commits follow"),
        pytest.param([PartitionState(4, 4, None)] * 7, [Reason.NOT_COMMITTED], id="never committed"),
        pytest.param([PartitionState(None, 9, 5)] * 7, [Reason.NOT_STARTED], id="assigned, never started"),
        pytest.param([PartitionState(5, 9, 5)] * 6 + [PartitionState(6, 9, 6)] * 6, [], id="moved once in between"),
    ],
)
def test_what_is_stuck(states: list[PartitionState], expected: list[Reason]) -> None:
    assert observed(Watchdog(), states) == expected


def test_a_partition_waits_for_its_table_as_long_as_the_table_moves() -> None:
    waiting = [PartitionState(None, 9, 5)] * 20
    watchdog = Watchdog()
    for count, reading in enumerate(waiting):
        found = watchdog.observe(count * 5.0, {TP0: reading}, [("users", count * 5.0)])
    assert found == ()


def test_a_table_that_does_not_come_closer_is_stuck() -> None:
    assert observed(Watchdog(), [PartitionState(None, 9, 5)] * 7, recovering=[("users", 0.0)]) == [Reason.NOT_RECOVERED]


def test_a_process_that_was_stopped_is_not_stuck() -> None:
    watchdog = Watchdog()
    watchdog.observe(0.0, {TP0: PartitionState(5, 9, 5)})
    assert watchdog.observe(60.0, {TP0: PartitionState(5, 9, 5)}) == ()


def test_a_revoked_partition_is_forgotten() -> None:
    watchdog = Watchdog()
    for count in range(7):
        watchdog.observe(count * 5.0, {TP0: PartitionState(5, 9, 5)})
    assert watchdog.stuck
    assert watchdog.observe(35.0, {}) == ()
    assert watchdog.observe(40.0, {TP0: PartitionState(5, 9, 5)}) == ()


def test_the_text_names_what_is_stuck_and_for_how_long() -> None:
    watchdog = Watchdog()
    for count in range(8):
        found = watchdog.observe(count * 5.0, {TP0: PartitionState(5, 9, 5)})
    assert str(found[0]) == "t-0: its end is ahead, and its position does not move (35 s)"


def test_the_longest_time_without_progress_is_known_before_it_counts_as_stuck() -> None:
    watchdog = Watchdog()
    watchdog.observe(0.0, {TP0: PartitionState(5, 9, 5)})
    watchdog.observe(5.0, {TP0: PartitionState(5, 9, 5)})
    assert watchdog.longest_s(7.0) == {Reason.NOT_PROCESSED: 7.0}
    watchdog.observe(10.0, {TP0: PartitionState(9, 9, 9)})
    assert watchdog.longest_s(11.0) == {}


def test_the_time_without_observations_does_not_count() -> None:
    """Kafka does not answer for a minute: nothing of the worker is stuck, and no restart would help."""
    watchdog = Watchdog()
    watchdog.observe(0.0, {TP0: PartitionState(5, 9, 5)})
    watchdog.observe(4.0, {TP0: PartitionState(5, 9, 5)})
    assert watchdog.longest_s(64.0) == {Reason.NOT_PROCESSED: 9.0}
    assert watchdog.stalled(64.0, 10.0) == ()
    watchdog.observe(12.0, {TP0: PartitionState(5, 9, 5)})
    assert [one.for_s for one in watchdog.stalled(13.0, 10.0)] == [13.0]
