"""Benchmark of the tables in memory and on disk."""
