"""The error of the local stack."""

from pathlib import Path

from notify_streams.errors import NotifyError


class StackFailed(NotifyError):
    """The message says what failed and what to do; for a service it has the log's path and last lines."""


def last_lines(log: Path, count: int = 12) -> str:
    """The end of a log, for an error message."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return f"(no log at {log})"
    shown = "\n".join("  | " + line[:300] for line in lines[-count:])
    return f"{log}:\n{shown or '  | (empty)'}"
