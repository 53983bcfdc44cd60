"""Tables with batched changelogs: co-partitioned and replicated."""
