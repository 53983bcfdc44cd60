"""`python -m devtools.stack up|status|down`."""

from devtools.stack.command import stack

stack(prog_name="notify-streams stack")
