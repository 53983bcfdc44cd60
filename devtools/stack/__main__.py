"""`python -m devtools.stack`: the same commands as `notify-streams stack`."""

from devtools.stack.command import stack

stack(prog_name="notify-streams stack")
