"""Durable throughput: triggers waiting in Kafka until their channel messages are in Kafka and everything is in MongoDB.

The reference does the same input and output as a bare loop: no Faust, no validation, no joins, no decision, no ledger sums.
"""
