"""Forwarding of records to other regions."""
