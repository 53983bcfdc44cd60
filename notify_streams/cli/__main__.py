"""``python -m notify_streams.cli``."""

from notify_streams.cli.lazy_group import PROGRAM
from notify_streams.cli.main import main

main(prog_name=PROGRAM)
