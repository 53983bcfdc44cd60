"""The command line `notify-streams`: one verb a file.

Data goes to stdout, everything else to stderr. The exit status of a check is 0 only if it holds.
"""

from notify_streams.cli.main import main

__all__ = ["main"]
