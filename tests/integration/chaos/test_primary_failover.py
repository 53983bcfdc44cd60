"""The fault test of elections kills the primary only."""

from pathlib import Path

import pytest

from devtools.chaos.primary_failover import fail_primary
from devtools.stack.mongodb import Member, Shard
from devtools.stack.ports import free_port

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("count", [1, 3])
def test_only_the_primary_is_killed_and_started_again(tmp_path: Path, count: int) -> None:
    first = free_port(count=count)
    members = [Member(f"x/{at}", tmp_path / str(at), first + at, "x") for at in range(count)]
    shard = Shard("x", "x", members)
    try:
        shard.start()
        before, pids = shard.primary(), {member.name: member.process.pid for member in members}
        assert before is not None
        description = fail_primary(shard)
        changed = [member for member in members if member.process.pid != pids[member.name]]
        assert changed == [before] and before.name in description
        after = shard.primary()
        assert after is not None and (after is not before) == (count > 1)
    finally:
        shard.stop()
