"""Backlog benchmark: critical triggers beside a full standard backlog, while critical workers end.

Timed from a trigger's scheduled moment to its acceptance in the provider sandbox's log.
"""
