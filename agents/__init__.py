"""Faust agents: one hop a file. A topic in, a call, hand on."""
