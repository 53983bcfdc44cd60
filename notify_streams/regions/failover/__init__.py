"""Failover of home regions: protocol, control logs, placement, command."""
