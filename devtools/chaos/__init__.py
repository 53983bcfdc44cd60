"""Fault tests: real workers under load are killed at failpoints and at random."""
