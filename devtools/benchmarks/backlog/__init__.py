"""Backlog benchmark: critical triggers beside a full standard backlog.

Timed from a trigger's scheduled moment to its acceptance in the provider sandbox's log.
"""
