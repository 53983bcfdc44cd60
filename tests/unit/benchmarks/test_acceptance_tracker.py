"""The sandbox's record as the backlog benchmark reads it: it grows meanwhile, and a repeat does not make anything faster or slower."""

from pathlib import Path

import msgspec

from devtools.benchmarks.backlog.acceptance_tracker import AcceptanceTracker
from tests.builders import an_acceptance


def a_line(identity: str, done: float, critical: bool = True) -> bytes:
    one = an_acceptance(identity, at=done - 0.001, done=done, critical=critical, to_sha="0" * 16)
    return msgspec.json.encode(one) + b"\n"


def test_the_first_acceptance_counts_and_what_came_later_is_read_later(tmp_path: Path) -> None:
    record = tmp_path / "accepted.jsonl"
    accepted = AcceptanceTracker(str(record))
    accepted.read_on()  # not there yet
    assert accepted.missing(["a", "b"]) == ["a", "b"]
    record.write_bytes(a_line("a", 1.0) + a_line("s", 1.5, critical=False) + a_line("a", 2.0))
    accepted.read_on()
    with record.open("ab") as file:
        file.write(a_line("b", 3.0))
    accepted.read_on()
    assert accepted.critical == {"a": 1.0, "b": 3.0}
    assert (accepted.repeats, accepted.standard, accepted.missing(["a", "b"])) == (1, [1.5], [])
