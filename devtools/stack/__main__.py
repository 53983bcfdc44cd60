"""`python -m devtools.stack`: the same commands as `notify-streams stack`."""

import sys

from notify_streams.cli.lazy_group import PROGRAM
from notify_streams.cli.main import main

main(["stack", *sys.argv[1:]], prog_name=PROGRAM)
