"""Restores a region from backups of its databases: `plan`, `apply`."""

from notify_streams.admin.restore.apply import KafkaChoice, Options, apply, plan
from notify_streams.admin.restore.erasures import erased_persons

__all__ = ["KafkaChoice", "Options", "apply", "erased_persons", "plan"]
