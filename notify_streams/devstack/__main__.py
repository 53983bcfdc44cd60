"""`python -m notify_streams.devstack up|status|down`."""

from notify_streams.devstack.command import stack

stack(prog_name="notify-streams stack")
