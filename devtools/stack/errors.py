"""The one error of this package: something about the local stack that a person has to look at."""

from pathlib import Path


class StackFailed(Exception):
    """The message says what failed and what to do; for a service it carries the log's name and its last lines."""


def last_lines(log: Path, count: int = 12) -> str:
    """The end of a log, for a message. Says so if there is none."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return f"(no log at {log})"
    shown = "\n".join("  | " + line[:300] for line in lines[-count:])
    return f"{log}:\n{shown or '  | (empty)'}"
