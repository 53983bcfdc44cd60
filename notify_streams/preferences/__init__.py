"""What a category allows, what a person chose, and how a choice reaches every place that sends, within one second.

Pure centre: `policy` (categories), `compiled` (a person's choices as a few bytes). I/O rim: the durable record in MongoDB, the Redis
delta, the checks.
"""
