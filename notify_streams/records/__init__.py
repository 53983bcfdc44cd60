"""What travels on the topics: one file a record, each with its decoder, and the rules that turn bytes into values.

Comes in: keys, values and headers of Kafka records. Goes out: frozen `msgspec` structs, or a `Rejection`.
Refuses to know: tables, databases, Faust.
"""
