"""The verdict over a region: what is wrong now, and what was in the last hour.

`collector` observes the region, `rules` find problems in what it saw, `history` gives them a beginning and an end.
"""
