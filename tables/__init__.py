"""Faust tables: which topic stands behind each, what its key is, who writes it and what a row weighs."""
