"""Forwarding benchmarks: throughput and delay over a long link.

A region's stack, and another region's broker behind a link with the round trip of an ocean.
"""
