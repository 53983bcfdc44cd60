"""Tables whose changelog is read and written in batches: a co-partitioned one and a replicated one.

In: a compacted topic, one row a key. Out: rows by key, and how far the reading is. Refuses to know what a row means.
"""
