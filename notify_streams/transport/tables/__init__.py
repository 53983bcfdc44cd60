"""Tables whose changelogs are read and written in batches: co-partitioned and replicated."""
