"""What is critical while a standard backlog is worked off at full speed, and while critical workers are killed and rolled.

Timed from the scheduled moment of a trigger to its acceptance in the provider sandbox's own record.
"""
