"""Failover of home regions: the protocol, control logs, the placement of a worker, the command."""
