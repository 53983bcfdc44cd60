"""Fakes and fault-injecting proxies on real sockets."""
