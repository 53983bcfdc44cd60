"""Latency benchmark: from Kafka's acknowledgement of a trigger to its readable channel messages."""
