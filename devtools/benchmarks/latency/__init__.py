"""Latency benchmark: from acknowledged trigger to readable message."""
