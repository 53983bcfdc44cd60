"""Load at a fixed rate, and what workers' metrics say about it."""
