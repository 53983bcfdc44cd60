"""Fakes and fault-injecting proxies on real sockets, used by contract tests and benchmarks."""
