"""Forwards records to the region that serves their person."""
