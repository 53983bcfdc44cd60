"""``python -m notify_streams.cli``."""

from notify_streams.cli.main import main

main(prog_name="notify-streams")
