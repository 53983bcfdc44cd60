"""Faust tables: their topics, keys, writers and row sizes."""
