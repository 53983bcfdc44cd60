"""Delivery benchmark: one push worker beside bare senders.

The provider is nginx over TLS; its access log is the record of what arrived.
"""
