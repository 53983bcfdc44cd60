"""`notify-streams`: one verb a file. Data on stdout, everything else on stderr; exit status 0 only where the thing holds."""

from notify_streams.cli.main import main

__all__ = ["main"]
