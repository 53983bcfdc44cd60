"""Forwarding benchmarks: the forward role over a long link, and the delay of one trigger.

A region's stack, and another region's broker behind a link with the round trip of an ocean.
"""
