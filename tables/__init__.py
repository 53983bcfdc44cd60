"""Faust tables: for each the topic behind it, its key, its writers and the size of a row."""
