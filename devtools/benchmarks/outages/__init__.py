"""Outage benchmark: a provider fails in seven ways under load, then recovers."""
