"""Benchmark of the web views: what their clients cost the critical lane."""
