"""Latency at a steady rate: a trigger that Kafka has acknowledged until its channel messages can be read.

The reference is a bare loop at the same rate: aiokafka, one majority transaction, `send_batch`.
"""
