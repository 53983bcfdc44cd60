"""``python -m notify_streams.cli``."""

from notify_streams.cli.program import main

main(prog_name="notify-streams")
