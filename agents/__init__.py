"""Faust agents: one topic hop a file, no domain rules."""
